//! The page as served by the binary and by nginx, and how the build script embeds it.
use crate::harness::{Nginx, Process, RawClient, Tidegate, http_get, nginx::NginxSettings};
use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path, process::Command, time::Duration};
use tempfile::TempDir;

async fn demo() -> Process {
    Tidegate::new(&["demo", "--listen", "127.0.0.1:0"]).start().await
}

struct Reply {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Reply {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

async fn ask(here: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut client = RawClient::connect(here).await;
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {here}\r\nconnection: close\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    client.write(format!("{request}\r\n").as_bytes()).await;
    let bytes = client.read_to_end(Duration::from_secs(5)).await;
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    Reply { status, headers, body: bytes[end + 4..].to_vec() }
}

/// The files of the page, as `tidegate page` writes them.
fn written(folder: &Path) -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate")).arg("page").arg(folder).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut names = Vec::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(next) = todo.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else {
                names.push(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    names
}

fn address_of(name: &str) -> String {
    if name == "index.html" { String::from("/") } else { format!("/{name}") }
}

#[tokio::test]
async fn every_file_is_served_in_the_requested_encoding() {
    let gateway = demo().await;
    let folder = tempfile::tempdir().unwrap();
    let names = written(folder.path());
    assert!(names.iter().any(|name| name == "index.html"));
    for name in names.iter().filter(|name| !name.ends_with(".br") && !name.ends_with(".gz")) {
        let path = address_of(name);
        let mut tags = Vec::new();
        for (accepted, ending, encoding) in [
            ("br;q=0, gzip;q=0", "", ""),
            ("gzip", ".gz", "gzip"),
            ("gzip;q=0.5, br", ".br", "br"),
            ("br;q=0, gzip;q=0.1", ".gz", "gzip"),
            ("zstd", "", ""),
        ] {
            let reply = ask(gateway.address, "GET", &path, &[("accept-encoding", accepted)]).await;
            let has = names.contains(&format!("{name}{ending}"));
            let file = if has { format!("{name}{ending}") } else { name.clone() };
            assert_eq!(reply.status, 200, "{path} {accepted}");
            assert!(
                reply.body == fs::read(folder.path().join(&file)).unwrap(),
                "{path} {accepted}: not {file}"
            );
            assert_eq!(
                reply.header("content-encoding"),
                if has { encoding } else { "" },
                "{path} {accepted}"
            );
            tags.push((file, reply.header("etag").to_owned()));
        }
        // A strong tag for each encoding.
        let of_file: BTreeMap<_, _> = tags.iter().cloned().collect();
        assert!(tags.iter().all(|(file, tag)| of_file[file] == *tag && tag.starts_with('"')), "{tags:?}");
        assert_eq!(
            of_file.values().collect::<std::collections::BTreeSet<_>>().len(),
            of_file.len(),
            "{tags:?}"
        );
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_cached_file_is_not_sent_again() {
    let gateway = demo().await;
    let first = ask(gateway.address, "GET", "/", &[]).await;
    let tag = first.header("etag").to_owned();
    for known in [tag.clone(), format!("\"x\", W/{tag}"), String::from("*")] {
        let reply = ask(gateway.address, "GET", "/", &[("if-none-match", &known)]).await;
        assert_eq!((reply.status, reply.body.len()), (304, 0), "{known}");
        assert_eq!(reply.header("etag"), tag);
        assert_eq!(reply.header("cache-control"), "no-cache");
    }
    assert_eq!(ask(gateway.address, "GET", "/", &[("if-none-match", "\"x\"")]).await.status, 200);
    let head = ask(gateway.address, "HEAD", "/", &[]).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), first.body.len().to_string());
    let posted = ask(gateway.address, "POST", "/", &[]).await;
    assert_eq!((posted.status, posted.header("allow")), (405, "GET, HEAD"));
    for path in
        ["/index.html.br", "/assets/../index.html", "/assets/index-1234.js", "/assets/", "/.git", "/nowhere"]
    {
        assert_eq!(http_get(gateway.address, path).await.0, 404, "{path}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn nginx_serves_the_same_files_with_the_same_headers() {
    let gateway = demo().await;
    let folder: &'static Path = Box::leak(Box::new(tempfile::tempdir().unwrap())).path();
    let names = written(folder);
    let settings = NginxSettings { page: Some(folder), ..NginxSettings::default() };
    let nginx = Nginx::start_with(&[gateway.address], settings).await;
    for name in names.iter().filter(|name| !name.ends_with(".br") && !name.ends_with(".gz")) {
        for accepted in ["identity", "gzip"] {
            let headers = [("accept-encoding", accepted)];
            let ours = ask(gateway.address, "GET", &address_of(name), &headers).await;
            let theirs = ask(nginx.address, "GET", &address_of(name), &headers).await;
            assert!(theirs.status == 200 && ours.body == theirs.body, "{name} {accepted}");
            // nginx computes its own tag, from size and time.
            let left_out =
                ["date", "server", "connection", "etag", "last-modified", "accept-ranges", "retry-after"];
            let compared = |reply: &Reply| -> BTreeMap<String, String> {
                let headers = reply.headers.clone().into_iter();
                headers.filter(|(name, _)| !left_out.contains(&name.as_str())).collect()
            };
            assert_eq!(compared(&ours), compared(&theirs), "{name} {accepted}");
        }
    }
    assert_eq!(http_get(nginx.address, "/api/config").await.0, 200);
    assert_eq!(http_get(nginx.address, "/nowhere").await.0, 404);
    gateway.stop().await;
}

/// The build script, run as a program on a copy of the page's source.
struct Build {
    folder: TempDir,
}

impl Build {
    fn new() -> Build {
        let folder = tempfile::tempdir().unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/web");
        fs::create_dir_all(folder.path().join("web/src")).unwrap();
        for name in [
            "index.html",
            "package.json",
            "package-lock.json",
            "tsconfig.json",
            "vite.config.ts",
            "src/main.tsx",
        ] {
            fs::copy(format!("{source}/{name}"), folder.path().join("web").join(name)).unwrap();
        }
        fs::create_dir_all(folder.path().join("web/public")).unwrap();
        fs::create_dir_all(folder.path().join("out")).unwrap();
        Build { folder }
    }

    /// Adds a shell script of this name to the build's PATH.
    fn tool(&self, name: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.folder.path().join("bin").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs the build script and returns its output to cargo.
    fn run(&self, variables: &[(&str, &str)]) -> String {
        let output = Command::new(env!("WEB_BUILD_SCRIPT"))
            .env_clear()
            .env("PATH", self.folder.path().join("bin"))
            .env("CARGO_MANIFEST_DIR", self.folder.path())
            .env("OUT_DIR", self.folder.path().join("out"))
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn index(&self) -> String {
        fs::read_to_string(self.folder.path().join("out/web/index.html")).unwrap()
    }
}

const NPM: &str = "echo \"$1 $2\" >>\"$CARGO_MANIFEST_DIR/calls\"
[ \"$1\" = ci ] && { /bin/mkdir -p node_modules; exit 0; }
/bin/mkdir -p \"$5\" && echo built >\"$5/index.html\"";

impl Build {
    /// Adds a packed page, made from a source with this digest.
    fn pack(&self, source: &str, index: &str) {
        let pack = format!("tidegate page 1\n{source}\n{} plain index.html\n\n{index}", index.len());
        fs::write(self.folder.path().join("web/page.pack"), pack).unwrap();
    }

    /// The digest of the current source, by which a build identifies itself.
    fn source(&self) -> String {
        self.tool("node", "echo v20.19.0");
        self.tool("npm", NPM);
        let output = self.run(&[]);
        for path in ["out/web.stamp", "bin/node", "bin/npm", "calls"] {
            fs::remove_file(self.folder.path().join(path)).unwrap();
        }
        fs::remove_dir_all(self.folder.path().join("web/node_modules")).unwrap();
        let id = output.split("WEB_BUILD_ID=").nth(1).unwrap();
        id.trim().to_owned()
    }
}

#[test]
fn the_packed_page_needs_no_node_while_the_source_is_the_same() {
    let build = Build::new();
    fs::write(build.folder.path().join("web/public/icon.svg"), "<svg/>").unwrap();
    let source = build.source();
    build.pack(&source, "packed");
    let output = build.run(&[("WEB_REQUIRED", "1")]);
    assert!(!output.contains("cargo::warning") && !output.contains("cargo::error"), "{output}");
    assert!(output.contains(&format!("WEB_BUILD_ID={source}")), "{output}");
    assert_eq!(build.index(), "packed");
    let icon = build.folder.path().join("out/web/icon.svg");
    assert_eq!(fs::read_to_string(icon).unwrap(), "<svg/>", "what is in public/ comes from there");
    // Tests are not part of the source.
    fs::write(build.folder.path().join("web/src/main.test.tsx"), "a test").unwrap();
    assert_eq!(build.run(&[]), output);
}

#[test]
fn a_source_that_cannot_be_built_leaves_the_packed_page_and_is_asked_for_again() {
    let build = Build::new();
    build.pack("of another source", "older");
    let output = build.run(&[]);
    assert!(output.contains("cargo::warning=") && output.contains("Node.js is not installed"), "{output}");
    assert_eq!(build.index(), "older");
    assert!(output.contains("WEB_BUILD_ID=of another source"), "{output}");
    // A file that never exists, so that cargo runs the script again at the next build.
    let asked = output.lines().filter_map(|line| line.strip_prefix("cargo::rerun-if-changed="));
    assert!(asked.into_iter().any(|path| path.ends_with("ask-again") && !Path::new(path).exists()));
    // An error if a new page is required; no report if none was requested.
    assert!(build.run(&[("WEB_REQUIRED", "1")]).contains("cargo::error="));
    let output = build.run(&[("WEB_SKIP", "1")]);
    assert!(!output.contains("cargo::warning") && !output.contains("cargo::error"), "{output}");
    build.tool("node", "echo v20.18.9");
    assert!(build.run(&[]).contains("too old"));
    // Node.js was installed.
    build.tool("node", "echo v22.12.0");
    build.tool("npm", NPM);
    assert!(!build.run(&[]).contains("cargo::warning"));
    assert_eq!(build.index(), "built\n");
}

#[test]
fn a_pack_that_cannot_be_read_is_named() {
    let build = Build::new();
    let whole = "tidegate page 1\nx\n4 plain index.html\n\npage";
    for (pack, fault) in [
        (whole.replace("page 1", "page 9"), "does not begin"),
        (whole.replace("4 plain", "5 plain"), "is cut off"),
        (whole.replace("4 plain", "3 plain"), "does not fit"),
        (whole.replace("plain", "zip"), "a bad line"),
        (whole.replace("index.html", "../index.html"), "a bad line"),
        (String::from("tidegate page 1\nx"), "no end"),
    ] {
        fs::write(build.folder.path().join("web/page.pack"), pack).unwrap();
        let output = build.run(&[]);
        assert!(output.contains("cargo::error=") && output.contains(fault), "{fault}: {output}");
    }
    fs::remove_file(build.folder.path().join("web/page.pack")).unwrap();
    assert!(build.run(&[]).contains("cargo::error="));
}

#[test]
fn the_page_is_built_when_its_source_changes_and_installed_when_its_lock_does() {
    let build = Build::new();
    build.tool("node", "echo v20.19.0");
    build.tool("npm", NPM);
    let calls = || fs::read_to_string(build.folder.path().join("calls")).unwrap().lines().count();
    let first = build.run(&[("WEB_REQUIRED", "1")]);
    assert!(!first.contains("cargo::error") && build.index() == "built\n", "{first}");
    assert_eq!(calls(), 2);
    assert_eq!(build.run(&[]), first);
    assert_eq!(calls(), 2, "nothing has changed");
    fs::write(build.folder.path().join("web/src/main.tsx"), "changed").unwrap();
    assert_ne!(build.run(&[]), first);
    assert_eq!(calls(), 3, "built, not installed");
    fs::write(build.folder.path().join("web/package-lock.json"), "{}").unwrap();
    build.run(&[]);
    assert_eq!(calls(), 5, "installed and built");
    build.pack("of another source", "older");
    build.tool("npm", "echo 'npm error network is away' >&2; exit 1");
    fs::write(build.folder.path().join("web/src/main.tsx"), "again").unwrap();
    let output = build.run(&[]);
    assert!(output.contains("cargo::warning=") && output.contains("network is away"), "{output}");
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("index.html"), "elsewhere").unwrap();
    let output = build.run(&[("WEB_DIST", elsewhere.path().to_str().unwrap())]);
    assert!(output.contains(&format!("WEB_DIR={}", elsewhere.path().display())), "{output}");
}
