//! One word for one thing: the glossary of docs/ARCHITECTURE.md is kept to, and a type name stands for one type.
use super::{PURE, code, layer, sources, top};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Words of conversation where the field has terms (sent, received, unknown). Not part of any name or sentence.
const CONVERSATION: &[&str] = &["told", "said", "heard", "somebody", "nobody", "whoever"];

/// Where the words of conversation are looked for, with the kinds of files that are read.
const PROSE: &[(&str, &[&str])] = &[("src", &["rs"]), ("docs", &["md"]), ("web/src", &["ts", "tsx"])];

/// Where people converse: beginnings of paths.
const CONVERSATIONS: &[&str] = &["src/simulator/"];

/// Tells of releases, in their words.
const CHANGELOG: &str = "docs/CHANGELOG.md";

/// Programs beside the gateway. Each has words of its own.
const PROGRAMS: &[&str] = &["load", "simulator"];

/// Names that each component declares for itself.
const OF_EACH_COMPONENT: &[&str] = &["Limits", "Settings"];

/// The cells of a table of docs/ARCHITECTURE.md below a heading, without its head.
fn table<const CELLS: usize>(text: &str, heading: &str) -> Vec<[String; CELLS]> {
    let start = format!("{heading}\n");
    let section = text.split("\n## ").find_map(|section| section.strip_prefix(start.as_str())).unwrap();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2).map(|line| {
        let cells = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned());
        cells.collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!("{CELLS} cells: {line}"))
    });
    rows.collect()
}

/// The words of a cell that stand in backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// A row of the glossary.
struct Row {
    word: String,
    /// Words that it replaces.
    replaces: Vec<String>,
}

fn glossary() -> Vec<Row> {
    let rows = table(&architecture(), "Glossary").into_iter().map(|[word, _, replaces]: [String; 3]| Row {
        word,
        replaces: quoted(&replaces).map(str::to_owned).collect(),
    });
    rows.collect()
}

fn architecture() -> String {
    fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether a text has a word: a type's name as it is, other words without regard to case and also as a part of a
/// name, several words in a row as they are.
fn has(text: &str, word: &str) -> bool {
    if word.contains(' ') {
        return text.to_lowercase().contains(word);
    }
    let is_type = word.starts_with(char::is_uppercase);
    text.split(|c: char| !c.is_alphanumeric() && (c != '_' || !is_type)).any(|found| match is_type {
        true => found == word,
        false => parts(found).any(|part| part.eq_ignore_ascii_case(word)),
    })
}

/// The words that a name in camel case is made of.
fn parts(name: &str) -> impl Iterator<Item = &str> {
    let mut begins: Vec<_> =
        name.char_indices().filter(|(_, c)| c.is_uppercase()).map(|(at, _)| at).collect();
    begins.insert(0, 0);
    begins.push(name.len());
    (1..begins.len()).map(move |at| &name[begins[at - 1]..begins[at]])
}

fn files(folder: &Path, kinds: &[&str], into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, kinds, into);
        } else if path.extension().is_some_and(|kind| kinds.iter().any(|wanted| kind == *wanted)) {
            into.push(path);
        }
    }
}

#[test]
fn words_are_found_wherever_they_stand() {
    assert!(
        has("let x = was_told;", "told") && has("// Told so.", "told") && has("struct LastTold;", "told")
    );
    assert!(!has("let retold = untold;", "told") && has("So many\n", "so many"));
    assert!(has("fn f(x: &Outlet)", "Outlet") && !has("OutletKind, outlet", "Outlet"));
}

#[test]
fn replaced_words_are_gone() {
    let glossary = glossary();
    assert!(glossary.len() >= 30, "the glossary was read: {} rows", glossary.len());
    let words: BTreeSet<_> = glossary.iter().map(|row| row.word.as_str()).collect();
    assert_eq!(words.len(), glossary.len(), "each word has one row");
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !PROGRAMS.contains(&top(&source.module))) {
        for row in &glossary {
            let found = row.replaces.iter().filter(|old| has(&code(&source.text), old));
            wrong.extend(found.map(|old| format!("{}: {old}: say {}", source.name, row.word)));
        }
    }
    assert!(wrong.is_empty(), "words that the glossary replaces:\n{}", wrong.join("\n"));
}

#[test]
fn prose_has_the_words_of_the_field() {
    let mut wrong = Vec::new();
    for (folder, kinds) in PROSE {
        let mut paths = Vec::new();
        files(&root().join(folder), kinds, &mut paths);
        assert!(!paths.is_empty(), "{folder} has files");
        for path in paths {
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            let text = fs::read_to_string(&path).unwrap();
            for (at, line) in text.lines().enumerate().filter(|_| name != CHANGELOG) {
                for word in CONVERSATION.iter().filter(|word| has(line, word)) {
                    if !CONVERSATIONS.iter().any(|start| name.starts_with(start)) {
                        wrong.push(format!("{name}:{}: {word}", at + 1));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} words of conversation:\n{}", wrong.len(), wrong.join("\n"));
}

/// The types that a file declares for others.
fn declared(code: &str) -> impl Iterator<Item = &str> {
    code.lines().filter_map(|line| {
        let public = line.strip_prefix("pub")?;
        let rest = public.strip_prefix("(crate)").or(public.strip_prefix("(super)")).unwrap_or(public).trim();
        let (kind, rest) = rest.split_once(' ')?;
        matches!(kind, "struct" | "enum" | "trait" | "type" | "union").then_some(())?;
        rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()
    })
}

#[test]
fn a_type_name_stands_for_one_type_in_a_layer() {
    let mut declaring: BTreeMap<(u8, String), Vec<String>> = BTreeMap::new();
    for source in sources().iter().filter(|source| !PROGRAMS.contains(&top(&source.module))) {
        let own = layer(&source.module).unwrap_or_else(|| panic!("{} has no layer", source.name));
        for name in declared(&code(&source.text)).filter(|name| !OF_EACH_COMPONENT.contains(name)) {
            declaring.entry((own.max(PURE), name.to_owned())).or_default().push(source.name.clone());
        }
    }
    assert!(declaring.len() > 100, "the types were found: {}", declaring.len());
    let twice = declaring.iter().filter(|(_, files)| files.len() > 1);
    let twice: Vec<_> = twice.map(|((_, name), files)| format!("{name}: {}", files.join(", "))).collect();
    assert!(twice.is_empty(), "one name, one type:\n{}", twice.join("\n"));
}

#[test]
fn the_functions_that_the_architecture_names_are_there() {
    let rows = table::<3>(&architecture(), "Where to look");
    assert!(rows.len() >= 10, "the table was read: {} rows", rows.len());
    let mut wrong = Vec::new();
    for [what, file, functions] in &rows {
        let path = quoted(file).next().unwrap_or_else(|| panic!("{what}: a file in backticks"));
        let Ok(text) = fs::read_to_string(root().join("src").join(path)) else {
            wrong.push(format!("{what}: there is no src/{path}"));
            continue;
        };
        for function in quoted(functions) {
            if ![format!("fn {function}("), format!("fn {function}<")]
                .iter()
                .any(|start| text.contains(start))
            {
                wrong.push(format!("{what}: src/{path} has no function {function}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
