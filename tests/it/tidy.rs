//! The rules of the source tree: imports point down and never in circles, the pure half stays pure, files stay small.
mod circles;
mod glossary;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Modules and the layer of each; the longest name that fits counts. A file may name what is in its
/// own layer or below, and whatever is in its own top module.
const LAYERS: &[(&str, u8)] = &[
    ("chat", 0),
    ("io_error", 0),
    ("log_throttle", 0),
    ("json", 0),
    ("protocol", 0),
    ("units", 0),
    ("access", 1),
    ("memory", 1),
    ("session", 1),
    ("upstream", 1),
    ("dispatch::admission", 1),
    ("dispatch::channel", 1),
    ("hub::bad_frames", 1),
    ("hub::chat_table", 1),
    ("socket::guard", 1),
    ("socket::intake", 1),
    ("socket::rate", 1),
    ("socket::unfinished", 1),
    ("http::host", 1),
    ("http::exchange", 1),
    ("http::framing", 1),
    ("http::origin", 1),
    ("simulator::script", 1),
    ("load::chart", 1),
    ("load::check", 1),
    ("load::cuts", 1),
    ("load::dialect", 1),
    ("load::measure", 1),
    ("load::page", 1),
    ("load::plan", 1),
    ("load::report", 1),
    ("load::require", 1),
    ("load::recorder", 1),
    ("load::table", 1),
    ("load::turn", 1),
    ("clock", 2),
    ("worker_clock", 2),
    ("lifecycle", 2),
    ("mailbox", 2),
    ("listen", 2),
    ("runtime", 2),
    ("upstream::client", 2),
    ("upstream::transport", 2),
    ("upstream::transport::chunked", 1),
    ("upstream::transport::head", 1),
    ("upstream::transport::pool", 1),
    ("logging", 2),
    ("metrics", 2),
    ("hub", 3),
    ("socket", 3),
    ("dispatch", 3),
    ("http", 4),
    ("config", 5),
    ("descriptors", 5),
    ("load", 5),
    ("signals", 5),
    ("simulator", 5),
    ("app", 6),
    ("cli", 6),
    ("demo", 6),
    ("health", 6),
    ("lib", 6),
    ("main", 6),
];

/// Up to here a file names nothing that touches the world.
const PURE: u8 = 1;

/// What touches the world, wherever it stands in a line. Types of time and atomics do not.
const WORLD: &[&str] = &["actix", "awc", "tokio", "Instant::now", "SystemTime::now", "elapsed()"];

/// What of `std` touches the world: beginnings of paths.
const WORLD_STD: &[&str] = &["fs", "env", "thread", "process", "os", "net::Tcp", "net::Udp"];

/// Named from layer 5 on: the others say what settings they want, and are handed them.
const CONFIG: &str = "config";

/// Lines of code; comments and empty lines are free.
const LINES_MAX: usize = 400;

/// Files that read numbers from others, or reckon with them: of headers, frames, counts, waits and places. In
/// these the compiler refuses arithmetic that can overflow, and casts that cut.
const FOREIGN_NUMBERS: &[&str] = &[
    "chat/error.rs",
    "chat/model.rs",
    "chat/price.rs",
    "chat/run.rs",
    "chat/seam.rs",
    "chat/usage.rs",
    "protocol/ai_sdk/decode.rs",
    "protocol/ai_sdk/encoder.rs",
    "protocol/ai_sdk/parse.rs",
    "protocol/position.rs",
    "socket/guard.rs",
    "socket/rate.rs",
    "socket/unfinished.rs",
    "upstream/chat/frame.rs",
    "upstream/dashscope/frame.rs",
    "upstream/json_string.rs",
    "upstream/listed.rs",
    "upstream/reader.rs",
    "upstream/response.rs",
    "upstream/route/retry.rs",
    "upstream/status.rs",
    "upstream/transport/chunked.rs",
    "upstream/transport/head.rs",
    "upstream/usage.rs",
    "upstream/wire.rs",
];

const CHECKED: &str =
    "#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]";

/// A file of the program without its tests.
struct Source {
    /// Below src/, for people.
    name: String,
    /// `socket::guard` for `src/socket/guard.rs`.
    module: String,
    text: String,
}

fn layer(path: &str) -> Option<u8> {
    let fits =
        |name: &str| path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    LAYERS.iter().filter(|(name, _)| fits(name)).max_by_key(|(name, _)| name.len()).map(|(_, layer)| *layer)
}

fn top(path: &str) -> &str {
    path.split("::").next().unwrap_or_default()
}

fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// Every file below src/ that is no test.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    files(&root, &mut paths);
    paths.sort();
    let sources = paths.iter().filter_map(|path| {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let stem = name.strip_suffix(".rs").unwrap();
        let module = stem.strip_suffix("/mod").unwrap_or(stem).replace('/', "::");
        let is_test = module.split("::").any(|part| part == "tests");
        (!is_test).then(|| Source { name, module, text: without_tests(&fs::read_to_string(path).unwrap()) })
    });
    sources.collect()
}

/// Leaves out `#[cfg(test)]` with the line or the block that follows it.
fn without_tests(text: &str) -> String {
    let mut out = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            out += &format!("{line}\n");
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let ends = |line: &str| line.len() - line.trim_start().len() == indent && line.trim() == "}";
        let item = lines.by_ref().find(|line| !line.trim_start().starts_with("#["));
        if item.is_some_and(|item| item.trim_end().ends_with('{')) {
            lines.by_ref().find(|line| ends(line));
        }
    }
    out
}

/// The text without comments.
fn code(text: &str) -> String {
    let line = |line: &str| line.split("//").next().unwrap_or_default().to_owned() + "\n";
    text.lines().map(line).collect()
}

/// All paths of a module's code that begin with `crate::` or `super::`, from the root, with the braces
/// of `use` multiplied out.
fn crate_paths(module: &str, code: &str) -> Vec<String> {
    let mut paths = paths_after("crate::", code);
    for (at, _) in code.match_indices("super::").filter(|(at, _)| !code[..*at].ends_with("super::")) {
        let (mut rest, mut parent) = (&code[at..], module);
        while let Some(up) = rest.strip_prefix("super::") {
            (rest, parent) = (up, parent.rsplit_once("::").map_or("", |(parent, _)| parent));
        }
        let prefix = if parent.is_empty() { String::new() } else { format!("{parent}::") };
        expand(&prefix, &tree(rest), &mut paths);
    }
    paths.iter().map(|path| as_declared(path)).collect()
}

fn paths_after(start: &str, code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (at, start) in code.match_indices(start) {
        expand("", &tree(&code[at + start.len()..]), &mut paths);
    }
    paths.iter().map(|path| as_declared(path)).collect()
}

/// Without the name that a `use` gives to what it imports.
fn as_declared(path: &str) -> String {
    path.split('@').next().unwrap_or_default().trim_end_matches("::self").to_owned()
}

/// The path at the start of a text, or the tree of braces: what a `use` has after `crate::`. In the braces `a as b`
/// is written `a@b`.
fn tree(text: &str) -> String {
    let mut depth = 0;
    let end = text.char_indices().find(|&(_, c)| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        depth < 0 || (depth == 0 && !(c.is_alphanumeric() || matches!(c, '_' | ':' | '}' | '*' | '@')))
    });
    text[..end.map_or(text.len(), |(at, _)| at)].replace(" as ", "@").split_whitespace().collect()
}

fn expand(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let Some((head, rest)) = tree.split_once('{') else {
        paths.push(format!("{prefix}{tree}"));
        return;
    };
    let inner = rest.strip_suffix('}').unwrap_or(rest);
    let (mut depth, mut start) = (0, 0);
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if c == ',' && depth == 0 {
            if start < at {
                expand(&format!("{prefix}{head}"), &inner[start..at], paths);
            }
            start = at + 1;
        }
    }
}

#[test]
fn the_reader_of_paths_reads_them() {
    let code =
        "use crate::{a::{self, B, c::D}, e as other};\nfn f(x: crate::g::H) -> crate::i {}\nuse crate::j::*;";
    assert_eq!(crate_paths("x::y", code), ["a", "a::B", "a::c::D", "e", "g::H", "i", "j::*"]);
    assert_eq!(crate_paths("x::y", "use super::{a, b::C};\nsuper::super::d()"), ["x::a", "x::b::C", "d"]);
    let text = "a\n#[cfg(test)]\nmod tests;\nb\n#[cfg(test)]\n#[a]\nmod tests {\n    x {\n    }\n}\nc\n";
    assert_eq!(without_tests(text), "a\nb\nc\n");
    assert_eq!((layer("socket"), layer("socket::guard::Limits"), layer("socketx")), (Some(3), Some(1), None));
}

#[test]
fn imports_point_down() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for source in sources() {
        let own = layer(&source.module).unwrap_or_else(|| panic!("{} has no layer", source.name));
        for path in crate_paths(&source.module, &code(&source.text)) {
            seen += 1;
            let Some(other) = layer(&path) else {
                wrong.push(format!("{} names crate::{path}, which has no layer", source.name));
                continue;
            };
            // A pure part stays below the shell that it belongs to.
            let is_sideways = top(&path) == top(&source.module) && (own > PURE || other <= PURE);
            if other > own && !is_sideways {
                wrong.push(format!("{} (layer {own}) names crate::{path} (layer {other})", source.name));
            }
            if top(&path) == CONFIG && own < 5 {
                wrong.push(format!("{} names crate::{path}: settings are handed down", source.name));
            }
        }
    }
    assert!(seen > 30, "the paths were found: {seen}");
    assert!(wrong.is_empty(), "imports must point down:\n{}", wrong.join("\n"));
}

#[test]
fn the_pure_half_does_not_touch_the_world() {
    let mut wrong = Vec::new();
    let sources = sources();
    let pure = sources.iter().filter(|source| layer(&source.module).is_some_and(|layer| layer <= PURE));
    for source in pure {
        let code = code(&source.text);
        for line in code.lines().filter(|line| WORLD.iter().any(|word| line.contains(word))) {
            wrong.push(format!("{}: {}", source.name, line.trim()));
        }
        for path in paths_after("std::", &code) {
            if WORLD_STD.iter().any(|start| path.starts_with(start)) {
                wrong.push(format!("{}: std::{path}", source.name));
            }
        }
    }
    assert!(wrong.is_empty(), "no IO, no task and no clock below the line:\n{}", wrong.join("\n"));
}

#[test]
fn files_open_with_a_sentence_and_stay_small() {
    let mut wrong = Vec::new();
    for source in sources() {
        if !source.text.starts_with("//! ") {
            wrong.push(format!("{} does not open with a //! sentence", source.name));
        }
        let lines = code(&source.text).lines().filter(|line| !line.trim().is_empty()).count();
        if lines > LINES_MAX {
            wrong.push(format!("{} has {lines} lines of code; at most {LINES_MAX}", source.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

// faults: K146
#[test]
fn numbers_from_others_are_reckoned_with_under_a_lint() {
    let sources = sources();
    let checked: Vec<_> =
        sources.iter().filter(|source| source.text.lines().any(|line| line == CHECKED)).collect();
    let names: Vec<_> = checked.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(names, FOREIGN_NUMBERS, "the list and the files that have {CHECKED}");
    // What turns bytes into a number is in such a file, where a client or the model service may have written them.
    let mut wrong = Vec::new();
    let outside = ["chat", "dispatch", "hub", "protocol", "session", "socket", "upstream"];
    for source in sources.iter().filter(|source| outside.contains(&top(&source.module))) {
        let code = code(&source.text);
        let reads = [".parse::<u", ".parse::<i", ".parse::<f", "from_str_radix(", "from_be_bytes("];
        let reads = code.lines().filter(|line| reads.iter().any(|word| line.contains(word)));
        if !names.contains(&source.name.as_str()) {
            wrong.extend(reads.map(|line| format!("{}: {}", source.name, line.trim())));
        }
    }
    assert!(wrong.is_empty(), "put the file on the list, and the lint into it:\n{}", wrong.join("\n"));
}
