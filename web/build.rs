//! Builds the page for the binary to embed. Without Node.js a page that says what is missing takes its place.
//!
//! | variable | what |
//! | --- | --- |
//! | `WEB_DIST=FOLDER` | embed this folder, built elsewhere |
//! | `WEB_SKIP=1` | do not build the page; embed the placeholder |
//! | `WEB_REQUIRED=1` | no placeholder: what keeps the page from being built is an error |
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a build script is told by the environment, and tells by stdout"
)]
use std::{
    env, fs,
    hash::{DefaultHasher, Hasher},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What the build reads, below `web/`.
const INPUTS: [&str; 7] =
    ["index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts", "src", "public"];
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
    let (folder, build) = page(&web, &out);
    println!("cargo::rustc-env=WEB_DIR={}", folder.display());
    println!("cargo::rustc-env=WEB_BUILD_ID={build}");
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

/// The folder to embed, and the name of what is in it.
fn page(web: &Path, out: &Path) -> (PathBuf, String) {
    let given = variable("WEB_DIST");
    if !given.is_empty() {
        let folder = web.join(given);
        println!("cargo::rerun-if-changed={}", folder.display());
        let build = hash(&[&folder]).unwrap_or_default();
        return (folder, build);
    }
    let dist = out.join("web");
    match build(web, &dist, out) {
        Ok(build) => (dist, build),
        Err(why) => {
            if is_set("WEB_REQUIRED") {
                println!("cargo::error=the page was not built: {why}");
            } else if !is_set("WEB_SKIP") {
                println!("cargo::warning=the page was not built, a placeholder takes its place: {why}");
            }
            if let Err(error) = placeholder(&dist, &why) {
                println!("cargo::error=the placeholder cannot be written: {error}");
            }
            (dist, String::from("placeholder"))
        }
    }
}

fn is_set(name: &str) -> bool {
    !matches!(variable(name).as_str(), "" | "0")
}

fn build(web: &Path, dist: &Path, out: &Path) -> Result<String, String> {
    let inputs: Vec<PathBuf> = INPUTS.iter().map(|name| web.join(name)).collect();
    for input in &inputs {
        println!("cargo::rerun-if-changed={}", input.display());
    }
    if is_set("WEB_SKIP") {
        return Err(String::from("WEB_SKIP is set"));
    }
    if !web.join("package.json").exists() {
        return Err(String::from("its source is not here"));
    }
    let paths: Vec<&Path> = inputs.iter().map(PathBuf::as_path).collect();
    let wanted = hash(&paths).map_err(|error| format!("its source cannot be read: {error}"))?;
    let stamp = out.join("web.stamp");
    if fs::read_to_string(&stamp).is_ok_and(|built| built == wanted) && dist.join("index.html").exists() {
        return Ok(wanted);
    }
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
    fs::write(stamp, &wanted).map_err(|error| error.to_string())?;
    Ok(wanted)
}

fn node_is_new_enough() -> Result<(), String> {
    let told = Command::new("node")
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|_| String::from("Node.js is not installed; it takes 20.19 or newer"))?;
    let told = String::from_utf8_lossy(&told.stdout);
    let mut numbers =
        told.trim().trim_start_matches('v').split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let is_old = version < NODE_MIN || version.0 == 21 || (version.0 == 22 && version < NODE_22_MIN);
    if is_old {
        return Err(format!("Node.js {} is too old; it takes 20.19, 22.12 or newer", told.trim()));
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
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(5)..].join(" / ");
    Err(format!("`npm {}` failed: {last}", arguments[0]))
}

/// Names and bytes of all files below these paths, in order.
fn hash(paths: &[&Path]) -> io::Result<String> {
    let mut hasher = DefaultHasher::new();
    for path in paths {
        add(&mut hasher, path)?;
    }
    Ok(format!("{:016x}", hasher.finish()))
}

fn add(hasher: &mut DefaultHasher, path: &Path) -> io::Result<()> {
    hasher.write(path.file_name().unwrap_or_default().as_encoded_bytes());
    if path.is_dir() {
        let mut entries: Vec<PathBuf> =
            fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
        entries.sort();
        entries.iter().try_for_each(|entry| add(hasher, entry))
    } else {
        hasher.write(&fs::read(path)?);
        Ok(())
    }
}

fn placeholder(dist: &Path, why: &str) -> io::Result<()> {
    let _ = fs::remove_dir_all(dist);
    fs::create_dir_all(dist)?;
    let why = why.replace('&', "&amp;").replace('<', "&lt;");
    fs::write(
        dist.join("index.html"),
        format!(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>Tidegate</title>\n\
             <link rel=\"stylesheet\" href=\"/placeholder.css\">\n<main>\n<h1>Tidegate</h1>\n\
             <p>The gateway runs, but its page was not built: {why}.</p>\n\
             <p>Install Node.js 20.19 or newer and build again. Programs can connect meanwhile: \
             <code>/chat</code>, <code>/api/chat</code>.</p>\n\
             <p lang=\"zh-CN\">网关已经在运行，但网页没有构建。请安装 Node.js 20.19 或更新的版本，然后重新构建。\
             程序仍可通过 <code>/chat</code> 与 <code>/api/chat</code> 连接。</p>\n</main></html>\n"
        ),
    )?;
    fs::write(
        dist.join("placeholder.css"),
        "html { color-scheme: light dark; font: 1rem/1.6 system-ui, sans-serif }\n\
         main { max-width: 40rem; margin: 15vh auto; padding: 0 1rem }\n",
    )
}
