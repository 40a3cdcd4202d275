//! Puts the page where the binary embeds it from.
//!
//! `page.pack` holds the page as it was built last (`npm run pack`), with a digest of the source it was built from. While the
//! source has that digest, the pack is unpacked, and neither Node.js nor the network is needed. A source that
//! differs is built with Node.js; where that fails, the pack takes its place, with a warning.
//!
//! | variable | effect |
//! | --- | --- |
//! | `WEB_DIST=FOLDER` | embed this folder, built elsewhere |
//! | `WEB_SKIP=1` | embed the pack, whatever the source is |
//! | `WEB_REQUIRED=1` | a source that cannot be built is an error |
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a build script reads the environment, and speaks to cargo on stdout"
)]
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};
use std::{
    env, fs,
    io::{self, Write},
    path::{Component, Path, PathBuf},
    process::{Command, Stdio},
};

/// What the build reads, below `web/`; `scripts/pack.mjs` has the same list.
const INPUTS: [&str; 7] =
    ["index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts", "src", "public"];
const PACK: &str = "page.pack";
/// The first line of a pack: its form.
const FORM: &str = "tidegate page 1";
/// The oldest Node.js that Vite runs on, in its two lines.
const NODE_MIN: (u32, u32) = (20, 19);
const NODE_22_MIN: (u32, u32) = (22, 12);

fn main() {
    let web = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("web");
    let out = PathBuf::from(variable("OUT_DIR"));
    println!("cargo::rerun-if-changed={}", web.join("build.rs").display());
    for name in ["WEB_DIST", "WEB_SKIP", "WEB_REQUIRED"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    // For the test of this program.
    if let Ok(program) = env::current_exe() {
        println!("cargo::rustc-env=WEB_BUILD_SCRIPT={}", program.display());
    }
    match page(&web, &out) {
        Ok((folder, build)) => {
            println!("cargo::rustc-env=WEB_DIR={}", folder.display());
            println!("cargo::rustc-env=WEB_BUILD_ID={build}");
        }
        Err(why) => println!("cargo::error=there is no page to embed: {why}"),
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

fn is_set(name: &str) -> bool {
    !matches!(variable(name).as_str(), "" | "0")
}

/// The folder to embed, and the name of what is in it.
fn page(web: &Path, out: &Path) -> Result<(PathBuf, String), String> {
    let given = variable("WEB_DIST");
    if !given.is_empty() {
        let folder = web.join(given);
        println!("cargo::rerun-if-changed={}", folder.display());
        let build = digest(&folder, &[""]).unwrap_or_default();
        return Ok((folder, build));
    }
    for input in INPUTS.iter().chain(&[PACK]) {
        println!("cargo::rerun-if-changed={}", web.join(input).display());
    }
    let dist = out.join("web");
    let stamp = out.join("web.stamp");
    let wanted = digest(web, &INPUTS).map_err(|error| format!("its source cannot be read: {error}"))?;
    if fs::read_to_string(&stamp).is_ok_and(|built| built == wanted) && dist.join("index.html").exists() {
        return Ok((dist, wanted));
    }
    let _ = fs::remove_file(&stamp);
    let pack = fs::read(web.join(PACK)).map_err(|error| format!("web/{PACK}: {error}"));
    let pack = pack.and_then(|bytes| Pack::read(&bytes).map_err(|fault| format!("web/{PACK} {fault}")));
    if let Ok(pack) = &pack
        && (pack.source == wanted || is_set("WEB_SKIP"))
    {
        pack.unpack(web, &dist).map_err(|error| format!("{}: {error}", dist.display()))?;
        if pack.source == wanted {
            fs::write(stamp, &wanted).map_err(|error| error.to_string())?;
        }
        return Ok((dist, pack.source.clone()));
    }
    match build(web, &dist) {
        Ok(()) => {
            fs::write(stamp, &wanted).map_err(|error| error.to_string())?;
            Ok((dist, wanted))
        }
        Err(why) if is_set("WEB_REQUIRED") => Err(format!("its source was not built: {why}")),
        Err(why) => {
            let pack = pack.map_err(|fault| format!("its source was not built: {why}; {fault}"))?;
            println!("cargo::warning=the page's source was not built, an older page takes its place: {why}");
            // No such file: cargo asks again at the next build, when Node.js or the network may be there.
            println!("cargo::rerun-if-changed={}", out.join("ask-again").display());
            pack.unpack(web, &dist).map_err(|error| format!("{}: {error}", dist.display()))?;
            Ok((dist, pack.source))
        }
    }
}

fn build(web: &Path, dist: &Path) -> Result<(), String> {
    node_is_new_enough()?;
    // An editor may run this at the same time.
    let lock =
        fs::File::create(web.join(".build.lock")).map_err(|error| format!("web/.build.lock: {error}"))?;
    lock.lock().map_err(|error| format!("web/.build.lock: {error}"))?;
    install(web)?;
    let _ = fs::remove_dir_all(dist);
    npm(web, &["run", "build", "--", "--outDir", &dist.to_string_lossy(), "--emptyOutDir"])?;
    if !dist.join("index.html").exists() {
        return Err(String::from("`npm run build` made no index.html"));
    }
    Ok(())
}

fn node_is_new_enough() -> Result<(), String> {
    let answer = Command::new("node")
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|_| String::from("Node.js is not installed; it takes 20.19 or newer"))?;
    let answer = String::from_utf8_lossy(&answer.stdout);
    let mut numbers =
        answer.trim().trim_start_matches('v').split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let is_old = version < NODE_MIN || version.0 == 21 || (version.0 == 22 && version < NODE_22_MIN);
    if is_old {
        return Err(format!("Node.js {} is too old; it takes 20.19, 22.12 or newer", answer.trim()));
    }
    Ok(())
}

/// Only when the lock file is not the one that was installed last.
fn install(web: &Path) -> Result<(), String> {
    let lock =
        fs::read(web.join("package-lock.json")).map_err(|error| format!("package-lock.json: {error}"))?;
    let installed = web.join("node_modules/.tidegate-lock.json");
    if fs::read(&installed).is_ok_and(|last| last == lock) {
        return Ok(());
    }
    npm(web, &["ci", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error"])?;
    fs::write(&installed, lock).map_err(|error| format!("{}: {error}", installed.display()))
}

fn npm(web: &Path, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("npm")
        .args(arguments)
        .current_dir(web)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("npm cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = errors.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(5)..].join(" / ");
    Err(format!("`npm {}` failed: {last}", arguments[0]))
}

/// The first half of the SHA-256 of the names, sizes and bytes of all files below these paths, in the order of their names.
/// Tests of the page are no part of it.
fn digest(folder: &Path, paths: &[&str]) -> io::Result<String> {
    let mut files = Vec::new();
    for path in paths {
        list(&folder.join(path), path, &mut files)?;
    }
    files.sort();
    let mut hash = Sha256::new();
    for name in &files {
        let bytes = fs::read(folder.join(name))?;
        hash.update(format!("{name}\0{}\0", bytes.len()));
        hash.update(bytes);
    }
    Ok(hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect())
}

fn list(path: &Path, name: &str, into: &mut Vec<String>) -> io::Result<()> {
    if !path.is_dir() {
        if !name.contains(".test.") {
            into.push(String::from(name));
        }
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let file = entry.file_name();
        let name = if name.is_empty() {
            file.to_string_lossy().into_owned()
        } else {
            format!("{name}/{}", file.to_string_lossy())
        };
        if name != "src/testing" {
            list(&entry.path(), &name, into)?;
        }
    }
    Ok(())
}

/// A built page in one file: a line for its form, one with the digest of its source, one `SIZE CODING NAME` for each file
/// (`br` or `plain`), an empty line, and then the files' bytes. What `public/` holds already is not in it.
struct Pack {
    source: String,
    files: Vec<Packed>,
}

struct Packed {
    name: String,
    is_brotli: bool,
    bytes: Vec<u8>,
}

impl Pack {
    fn read(bytes: &[u8]) -> Result<Pack, String> {
        let end = bytes.windows(2).position(|pair| pair == b"\n\n").ok_or("has no end of its list")?;
        let (head, mut rest) = (&bytes[..end], &bytes[end + 2..]);
        let head = std::str::from_utf8(head).map_err(|_| "has a list that is no text")?;
        let mut lines = head.lines();
        if lines.next() != Some(FORM) {
            return Err(format!("does not begin with `{FORM}`"));
        }
        let source = lines.next().ok_or("names no source")?.to_owned();
        let mut files = Vec::new();
        for line in lines {
            let mut fields = line.splitn(3, ' ');
            let size = fields.next().and_then(|size| size.parse::<usize>().ok());
            let (Some(size), Some(coding), Some(name)) = (size, fields.next(), fields.next()) else {
                return Err(format!("has a bad line: {line}"));
            };
            let is_inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
            if !is_inside || !["br", "plain"].contains(&coding) {
                return Err(format!("has a bad line: {line}"));
            }
            let (bytes, after) = rest.split_at_checked(size).ok_or("is cut off")?;
            rest = after;
            files.push(Packed { name: name.to_owned(), is_brotli: coding == "br", bytes: bytes.to_vec() });
        }
        if files.is_empty() || !rest.is_empty() {
            return Err(String::from("has a list that does not fit its bytes"));
        }
        Ok(Pack { source, files })
    }

    /// As `npm run build` leaves the page: with `.br` and `.gz` beside what is compressed.
    fn unpack(&self, web: &Path, dist: &Path) -> io::Result<()> {
        let _ = fs::remove_dir_all(dist);
        fs::create_dir_all(dist)?;
        let public = web.join("public");
        if public.is_dir() {
            let mut names = Vec::new();
            list(&public, "", &mut names)?;
            for name in names {
                write(&dist.join(&name), &fs::read(public.join(&name))?)?;
            }
        }
        for file in &self.files {
            let path = dist.join(&file.name);
            if !file.is_brotli {
                write(&path, &file.bytes)?;
                continue;
            }
            let mut plain = Vec::new();
            brotli_decompressor::BrotliDecompress(&mut file.bytes.as_slice(), &mut plain)?;
            let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
            gzip.write_all(&plain)?;
            write(&dist.join(format!("{}.gz", file.name)), &gzip.finish()?)?;
            write(&dist.join(format!("{}.br", file.name)), &file.bytes)?;
            write(&path, &plain)?;
        }
        Ok(())
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, bytes)
}
