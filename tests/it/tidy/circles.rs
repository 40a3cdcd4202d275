//! No circle of files, and none of top modules: what a file imports can be read before it.
//!
//! A file may take from those that it stands below (`a/b.rs` from `a.rs` or `a/mod.rs`): such a pair is one
//! thing in two files, and what the upper one declares is common to all below it. A name that a file
//! only passes on (`pub use`) counts for the file that declares it.
use super::{Source, as_declared, code, crate_paths, expand, sources, top, tree};
use std::collections::{BTreeMap, BTreeSet};

/// A name that is passed on may be passed on again, up to this often.
const HOPS_MAX: usize = 8;

/// From a module to all that it imports.
type Arrows = BTreeMap<String, BTreeSet<String>>;

/// The modules that a file declares, each a file of its own.
fn children(code: &str) -> Vec<&str> {
    let declared = code.lines().filter_map(|line| {
        let (before, name) = line.trim().strip_suffix(';')?.split_once("mod ")?;
        (before.is_empty() || before.starts_with("pub")).then_some(name)
    });
    declared.collect()
}

/// Where the word begins in a text, without those that only end with it or stand further on in a path.
fn beginnings<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let begins = |at: &usize| !text[..*at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':'));
    text.match_indices(word).map(|(at, _)| at).filter(begins)
}

/// All paths of a module's code that begin with the name of a module below it, from the root.
fn paths_below(module: &str, code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for statement in code.split_inclusive(';') {
        // In the braces of these the same name may stand for another module.
        let elsewhere = statement.find("use crate::").or(statement.find("use super::"));
        let statement = &statement[..elsewhere.unwrap_or(statement.len())];
        for child in children(code) {
            for at in beginnings(statement, &format!("{child}::")) {
                expand(&format!("{module}::"), &tree(&statement[at..]), &mut paths);
            }
        }
    }
    paths.iter().map(|path| as_declared(path)).collect()
}

/// The names that a module imports from this crate, so that others find them in it: from the path by which they
/// may ask to the path of what is meant.
fn passed_on(module: &str, code: &str) -> Vec<(String, String)> {
    let children = children(code);
    let mut names = Vec::new();
    for statement in code.split_terminator(';') {
        let Some(at) = beginnings(statement, "use ").last() else { continue };
        let mut paths = Vec::new();
        expand("", &tree(&statement[at + "use ".len()..].replace(" as ", "@")), &mut paths);
        for path in paths {
            let meant = as_declared(&path);
            let (first, last) = (meant.split("::").next(), meant.rsplit("::").next());
            let name = path.split_once('@').map(|(_, name)| name).or(last).unwrap_or_default().to_owned();
            let meant = if first.is_some_and(|first| children.contains(&first)) {
                Some(format!("{module}::{meant}"))
            } else {
                crate_paths(module, &meant).pop() // Nothing for another crate.
            };
            names.extend(meant.map(|meant| (format!("{module}::{name}"), meant)));
        }
    }
    names
}

/// The module of the file in which that stands which a path names.
fn declared_in(path: &str, files: &BTreeSet<&str>, aliases: &BTreeMap<String, String>) -> Option<String> {
    let mut path = path.to_owned();
    for _ in 0..HOPS_MAX {
        let ends = path.match_indices("::").map(|(at, _)| at).chain([path.len()]);
        let (prefix, rest) = ends
            .map(|end| path.split_at(end))
            .filter(|(prefix, _)| files.contains(prefix) || aliases.contains_key(*prefix))
            .last()?;
        if files.contains(prefix) {
            return Some(prefix.to_owned());
        }
        path = format!("{}{rest}", aliases[prefix]);
    }
    panic!("{path} is passed on in a circle");
}

fn is_below(module: &str, other: &str) -> bool {
    module.strip_prefix(other).is_some_and(|rest| rest.starts_with("::"))
}

fn arrows(sources: &[Source]) -> Arrows {
    let files: BTreeSet<_> = sources.iter().map(|source| source.module.as_str()).collect();
    let codes: Vec<_> = sources.iter().map(|source| (source.module.as_str(), code(&source.text))).collect();
    let aliases = codes.iter().flat_map(|(module, code)| passed_on(module, code)).collect();
    let arrows = codes.iter().map(|(module, code)| {
        let mut paths = crate_paths(module, code);
        paths.extend(paths_below(module, code));
        let named = paths.iter().filter_map(|path| declared_in(path, &files, &aliases));
        ((*module).to_owned(), named.filter(|other| other != module && !is_below(module, other)).collect())
    });
    arrows.collect()
}

fn reached<'a>(arrows: &'a Arrows, from: &str) -> BTreeSet<&'a str> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(module) = next.pop() {
        for other in arrows.get(module).into_iter().flatten() {
            if seen.insert(other.as_str()) {
                next.push(other);
            }
        }
    }
    seen
}

/// The largest sets of modules of which each reaches each.
fn circles(arrows: &Arrows) -> BTreeSet<Vec<&str>> {
    let reach: BTreeMap<_, _> =
        arrows.keys().map(|module| (module.as_str(), reached(arrows, module))).collect();
    let circle = |module: &str| -> Vec<&str> {
        let is_back = |other: &&str| reach.get(other).is_some_and(|others| others.contains(module));
        reach[module].iter().copied().filter(is_back).collect()
    };
    reach.keys().map(|module| circle(module)).filter(|circle| !circle.is_empty()).collect()
}

/// The arrows that close a circle, a line each, by the names of `named`.
fn lines(arrows: &Arrows, circle: &[&str], named: impl Fn(&str) -> String) -> String {
    let mut lines = String::new();
    for module in circle {
        let within = arrows[*module].iter().filter(|other| circle.contains(&other.as_str()));
        within.for_each(|other| lines += &format!("  {} imports {}\n", named(module), named(other)));
    }
    lines
}

#[test]
fn the_reader_of_circles_reads_them() {
    let files = [
        // What is passed on counts for the one that declares it, under any name.
        ("a", "mod b;\npub(crate) mod c;\npub use b::{self, X as Y};\npub use crate::d as Other;\n"),
        ("a::b", "use super::c::Z;\nuse crate::{d::D, e as other};"),
        ("a::c", "use super::{Common, Y};\nuse std::fmt::Write as _;\nfn f() -> super::Other {}"),
        ("d", "mod f;\nuse crate::e::{f::F};\nfn g() { f::h() }"),
        // From those that a file stands below, no arrow leads anywhere.
        ("d::f", "use super::D;\nuse crate::d;"),
        ("e", "fn f() -> crate::d::f::H {} // crate::a::b"),
    ];
    let file = |(module, text): (&str, &str)| Source {
        name: format!("{module}.rs"),
        module: module.to_owned(),
        text: text.to_owned(),
    };
    let mut sources: Vec<_> = files.into_iter().map(file).collect();
    let arrows_to = arrows(&sources);
    let list = |module: &str| arrows_to[module].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(list("a"), ["a::b", "d"]);
    assert_eq!(list("a::b"), ["a::c", "d", "e"]);
    assert_eq!(list("a::c"), ["a::b", "d"]);
    assert_eq!(list("d"), ["d::f", "e"]);
    assert_eq!((list("d::f").len(), list("e")), (0, vec!["d::f"]));
    assert_eq!(circles(&arrows_to), BTreeSet::from([vec!["a::b", "a::c"]]));
    assert_eq!(
        lines(&arrows_to, &["a::b", "a::c"], str::to_owned),
        "  a::b imports a::c\n  a::c imports a::b\n"
    );
    // The one below closes a circle of three through the one above it.
    sources[4].text = "use crate::e::E;".to_owned();
    let arrows = arrows(&sources);
    assert_eq!(circles(&arrows).last(), Some(&vec!["d::f", "e"]));
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let sources = sources();
    let names: BTreeMap<_, _> =
        sources.iter().map(|source| (source.module.as_str(), source.name.as_str())).collect();
    let arrows = arrows(&sources);
    let count: usize = arrows.values().map(BTreeSet::len).sum();
    assert!(count > 300, "the imports were found: {count}");
    let mut wrong = String::new();
    for circle in circles(&arrows) {
        let mut files: Vec<_> = circle.iter().map(|module| names[module]).collect();
        files.sort_unstable();
        wrong += &format!("{} import each other:\n", files.join(", "));
        wrong += &lines(&arrows, &circle, |module| names[module].to_owned());
    }
    assert!(wrong.is_empty(), "move what both need to a file below both:\n{wrong}");
}

#[test]
fn no_top_modules_import_each_other_in_a_circle() {
    let mut tops = Arrows::new();
    for (module, others) in arrows(&sources()) {
        let own = top(&module).to_owned();
        let others = others.iter().map(|other| top(other).to_owned()).filter(|other| *other != own);
        tops.entry(own.clone()).or_default().extend(others.collect::<Vec<_>>());
    }
    let wrong: String =
        circles(&tops).iter().map(|circle| lines(&tops, circle, str::to_owned) + "\n").collect();
    assert!(wrong.is_empty(), "top modules import each other:\n{wrong}");
}
