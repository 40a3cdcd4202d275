//! The README leads: it is short, and its Chinese twin has the same sections, code and links.
use std::{fs, path::Path};

/// Longer, and it no longer leads: details belong below docs/.
const LINES_MAX: usize = 140;

/// One section of a README, without its prose.
#[derive(Debug, PartialEq)]
struct Section {
    /// `##` and the like; the text differs between languages.
    level: usize,
    /// Lines of fenced blocks without their comments.
    code: Vec<String>,
    /// Targets of links and pictures, in order.
    links: Vec<String>,
    /// Rows of tables.
    rows: usize,
    /// Items of lists.
    items: usize,
}

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect(name)
}

/// A line of code without the comment behind it and the words of a person in it.
fn without_comment(line: &str) -> String {
    let code = line.split("# ").next().unwrap_or_default();
    code.split("// ").next().unwrap_or_default().trim_end().to_owned()
}

/// The target of every `](target)`, `src="target"` and `srcset="target"`.
fn links(line: &str) -> impl Iterator<Item = String> + '_ {
    let markdown = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let html = ["src=\"", "srcset=\""].into_iter().flat_map(|name| {
        line.split(name).skip(1).filter_map(|rest| rest.split('"').next()).collect::<Vec<_>>()
    });
    // The two name each other.
    markdown.chain(html).filter(|link| !link.starts_with("README")).map(str::to_owned)
}

fn sections(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.starts_with("```") {
            in_code = !in_code;
        }
        let level = line.bytes().take_while(|byte| *byte == b'#').count();
        if !in_code && level > 0 {
            sections.push(Section { level, code: vec![], links: vec![], rows: 0, items: 0 });
            continue;
        }
        let section = sections.last_mut().expect("a README begins with its title");
        if in_code || line.starts_with("```") {
            section.code.push(without_comment(line));
            continue;
        }
        section.links.extend(links(line));
        section.rows += usize::from(line.starts_with('|'));
        section.items += usize::from(line.starts_with("- "));
    }
    sections
}

#[test]
fn the_readme_is_short_enough_to_lead() {
    for name in ["README.md", "README.zh-CN.md"] {
        let lines = read(name).lines().count();
        assert!(lines <= LINES_MAX, "{name} has {lines} lines; move what is detail into docs/");
    }
}

#[test]
fn the_readmes_are_in_step() {
    let (english, chinese) = (sections(&read("README.md")), sections(&read("README.zh-CN.md")));
    assert!(english.len() >= 8 && english.iter().any(|section| section.code.len() > 5), "{english:?}");
    for (at, (english, chinese)) in english.iter().zip(&chinese).enumerate() {
        assert_eq!(english, chinese, "section {at}");
    }
    assert_eq!(english.len(), chinese.len());
}

/// Every document below docs/ can be reached from the README.
#[test]
fn the_readme_leads_to_every_document() {
    let links: Vec<String> =
        sections(&read("README.md")).into_iter().flat_map(|section| section.links).collect();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") {
            assert!(links.iter().any(|link| link.starts_with(&format!("docs/{name}"))), "{name}");
        }
    }
}
