//! The models that upstreams list: which of them are offered, under which names, and when a list is asked for again.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]
use serde::Deserialize;
use std::{borrow::Cow, sync::Arc, time::Duration};

/// Models that are offered of all lists together. Further ones are left out.
pub const MODELS_MAX: usize = 256;
/// Bytes of a list; a longer one is a fault of the upstream. Services with hundreds of models describe each at length.
pub const LIST_BYTES_MAX: usize = 4 << 20;
/// Time to answer with a list.
pub const LIST_TIME: Duration = Duration::from_secs(5);
/// Time until a list is asked for again, and the same while an upstream is away or offers nothing.
const EVERY: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(5);
/// Characters of a name; longer ones are left out.
const NAME_MAX: usize = 128;
/// Models with one of these words in their names write no answers.
const NO_CHAT: [&str; 2] = ["embed", "rerank"];

/// A model of one upstream's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedModel {
    /// What clients call it.
    pub name: Arc<str>,
    /// What the upstream calls it.
    pub there: Arc<str>,
    /// Tokens of a request and its answer together; 0: not known.
    pub context: u32,
}

/// Reads a list of models: OpenAI's (`data`, `id`), with the sizes of contexts that vLLM (`max_model_len`) and llama.cpp
/// (`meta.n_ctx`, of one slot) add. `context` is that of models that have none.
///
/// # Errors
/// What is wrong with it.
pub fn read(body: &[u8], context: u32) -> Result<Vec<ListedModel>, String> {
    let mut models: Vec<ListedModel> = Vec::new();
    for entry in &entries(body)? {
        let name = public_name(&entry.id);
        let is_known = models.iter().any(|model| *model.name == *name);
        if is_known || !is_offered(&entry.id) || !is_offered(name) || models.len() >= MODELS_MAX {
            continue;
        }
        let size = entry.max_model_len.as_ref().or(entry.meta.as_ref().and_then(|meta| meta.get("n_ctx")));
        let size = size.and_then(serde_json::Value::as_u64).and_then(|size| u32::try_from(size).ok());
        let context = size.filter(|size| *size > 0).unwrap_or(context);
        models.push(ListedModel { name: name.into(), there: entry.id.as_ref().into(), context });
    }
    Ok(models)
}

/// The names of all models of a list, as the upstream spells them.
///
/// # Errors
/// As [`read`].
pub fn names(body: &[u8]) -> Result<Vec<String>, String> {
    Ok(entries(body)?.into_iter().map(|entry| entry.id.into_owned()).collect())
}

/// A model as a list has it. Fields beside the name may be anything: services describe their models as they like.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    max_model_len: Option<serde_json::Value>,
    meta: Option<serde_json::Value>,
}

fn entries(body: &[u8]) -> Result<Vec<Entry<'_>>, String> {
    #[derive(Deserialize)]
    struct List<'a> {
        #[serde(borrow)]
        data: Vec<Entry<'a>>,
    }
    // The error's own words may quote the body.
    let list: List<'_> = serde_json::from_slice(body)
        .map_err(|error| format!("{:?} error at column {}", error.classify(), error.column()))?;
    Ok(list.data)
}

/// Of a file's path clients learn the last part only.
fn public_name(id: &str) -> &str {
    let Some(file) = id.strip_suffix(".gguf") else {
        // Not every name with a slash is a path: `Qwen/Qwen3-8B`.
        return if id.starts_with(['/', '.', '~']) { last_part(id) } else { id };
    };
    last_part(file)
}

fn last_part(path: &str) -> &str {
    path.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or(path)
}

fn is_offered(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    (1..=NAME_MAX).contains(&name.chars().count())
        && !name.contains(|c: char| c.is_whitespace() || c.is_control())
        && !NO_CHAT.iter().any(|word| lower.contains(word))
}

/// A model that is offered, with everywhere that it can be asked: the position of the upstream, and the name there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedModel {
    pub name: Arc<str>,
    /// The smallest of its contexts; 0: not known.
    pub context: u32,
    pub targets: Vec<(usize, Arc<str>)>,
    /// All of them have stopped answering.
    pub is_away: bool,
}

/// The lists of all upstreams that have one.
#[derive(Debug)]
pub struct Lists {
    upstreams: Vec<UpstreamList>,
}

#[derive(Debug)]
struct UpstreamList {
    /// Its position among all upstreams.
    upstream: usize,
    /// The last list that came; `None` before the first one.
    models: Option<Vec<ListedModel>>,
    is_away: bool,
}

/// What an answer to the question for a list has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListChange {
    /// Nothing.
    None,
    /// There is a new list, so other models are offered.
    Models,
    /// The upstream does not answer any more. What it listed is still offered.
    WentAway,
    /// The upstream answers again, with the list of before.
    CameBack,
}

/// Why nothing is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoModels {
    /// No upstream has answered.
    Unreachable,
    /// The lists are empty.
    Empty,
}

impl Lists {
    /// `upstreams`: the positions of those that list their models.
    pub fn new(upstreams: impl IntoIterator<Item = usize>) -> Self {
        let upstreams = upstreams
            .into_iter()
            .map(|upstream| UpstreamList { upstream, models: None, is_away: false })
            .collect();
        Lists { upstreams }
    }

    /// Notes an answer of an upstream: its list, or nothing where it did not answer with one. Only a list takes names away.
    pub fn note(&mut self, upstream: usize, models: Option<Vec<ListedModel>>) -> ListChange {
        let Some(list) = self.upstreams.iter_mut().find(|list| list.upstream == upstream) else {
            return ListChange::None;
        };
        let was_away = std::mem::replace(&mut list.is_away, models.is_none());
        match models {
            None if was_away => ListChange::None,
            None => ListChange::WentAway,
            Some(models) if list.models.as_ref() != Some(&models) => {
                list.models = Some(models);
                ListChange::Models
            }
            Some(_) if was_away => ListChange::CameBack,
            Some(_) => ListChange::None,
        }
    }

    /// How long to wait before this upstream is asked again.
    pub fn pause(&self, upstream: usize) -> Duration {
        let list = self.upstreams.iter().find(|list| list.upstream == upstream);
        let is_well = list.is_some_and(|list| {
            !list.is_away && list.models.as_ref().is_some_and(|models| !models.is_empty())
        });
        if is_well { EVERY } else { SOON }
    }

    /// The models of all lists, in their order. A name in several lists is one model with several targets.
    ///
    /// # Errors
    /// There is none.
    pub fn offered(&self) -> Result<Vec<OfferedModel>, NoModels> {
        let mut offered: Vec<OfferedModel> = Vec::new();
        for list in &self.upstreams {
            for model in list.models.iter().flatten() {
                let target = (list.upstream, Arc::clone(&model.there));
                let has_room = offered.len() < MODELS_MAX;
                match offered.iter_mut().find(|known| known.name == model.name) {
                    Some(known) => {
                        known.context = match (known.context, model.context) {
                            (0, context) | (context, 0) => context,
                            (one, other) => one.min(other),
                        };
                        known.targets.push(target);
                        known.is_away &= list.is_away;
                    }
                    None if has_room => offered.push(OfferedModel {
                        name: Arc::clone(&model.name),
                        context: model.context,
                        targets: vec![target],
                        is_away: list.is_away,
                    }),
                    None => {}
                }
            }
        }
        let has_list = || self.upstreams.iter().any(|list| list.models.is_some() && !list.is_away);
        match offered.is_empty() {
            false => Ok(offered),
            true => Err(if has_list() { NoModels::Empty } else { NoModels::Unreachable }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(body: &str) -> Vec<String> {
        let models = read(body.as_bytes(), 7).unwrap();
        models.iter().map(|model| format!("{}={} {}", model.name, model.there, model.context)).collect()
    }

    #[test]
    fn the_lists_of_engines_are_read() {
        let llamacpp = include_str!("../../tests/fixtures/upstream/chat/llamacpp_models.json");
        assert_eq!(names(llamacpp), ["tiny_think=tiny_think.gguf 2048"]);
        let vllm = r#"{"object":"list","data":[{"id":"Qwen/Qwen3-8B","object":"model","max_model_len":32768,"root":"/models/x"}]}"#;
        assert_eq!(names(vllm), ["Qwen/Qwen3-8B=Qwen/Qwen3-8B 32768"]);
        let ollama = r#"{"object":"list","data":[{"id":"llama3.2:3b","object":"model","created":1,"owned_by":"library"},
            {"id":"nomic-embed-text:latest"},{"id":"bge-Reranker"},{"id":"/home/me/models/Mine.gguf"},{"id":"C:\\m\\a.gguf"},
            {"id":"llama3.2:3b"},{"id":""},{"id":"two words"},{"id":"\u0007"}]}"#;
        assert_eq!(
            names(ollama),
            ["llama3.2:3b=llama3.2:3b 7", "Mine=/home/me/models/Mine.gguf 7", "a=C:\\m\\a.gguf 7"]
        );
        for context in ["-1", "0", "1e99", "\"big\"", "null", "99999999999"] {
            let body = format!("{{\"data\":[{{\"id\":\"m\",\"max_model_len\":{context}}}]}}");
            assert_eq!(names(&body), ["m=m 7"], "{context}");
        }
        for meta in ["\"big\"", "[]", "7", "{}", "{\"n_ctx\":[8]}"] {
            let body = format!("{{\"data\":[{{\"id\":\"m\",\"meta\":{meta}}}]}}");
            assert_eq!(names(&body), ["m=m 7"], "{meta}");
            assert_eq!(super::names(body.as_bytes()).unwrap(), ["m"], "{meta}");
        }
        let long =
            format!("{{\"data\":[{{\"id\":\"{}\"}},{{\"id\":\"{}\"}}]}}", "x".repeat(129), "y".repeat(128));
        assert_eq!(names(&long).len(), 1);
        assert_eq!(names("{\"data\":[]}"), [""; 0]);
    }

    #[test]
    fn what_is_no_list_is_a_fault_that_quotes_nothing() {
        for body in [
            "",
            "<html>CANARY",
            "{}",
            "[]",
            "{\"data\":\"CANARY\"}",
            "{\"data\":[{\"name\":\"CANARY\"}]}",
            "\u{1}",
        ] {
            assert!(!read(body.as_bytes(), 0).unwrap_err().contains("CANARY"), "{body}");
            assert!(!super::names(body.as_bytes()).unwrap_err().contains("CANARY"), "{body}");
        }
    }

    #[test]
    fn ten_thousand_names_are_cut() {
        let entries: Vec<_> = (0..10_000).map(|at| format!("{{\"id\":\"m{at}\"}}")).collect();
        let models = read(format!("{{\"data\":[{}]}}", entries.join(",")).as_bytes(), 0).unwrap();
        assert_eq!((models.len(), &*models[0].name, &*models[255].name), (MODELS_MAX, "m0", "m255"));
        let mut lists = Lists::new([0, 1]);
        lists.note(0, Some(models.clone()));
        lists.note(1, Some(list(&["another", "m0"])));
        let offered = lists.offered().unwrap();
        assert_eq!((offered.len(), offered[0].targets.len()), (MODELS_MAX, 2));
    }

    fn list(names: &[&str]) -> Vec<ListedModel> {
        let model =
            |name: &&str| ListedModel { name: (*name).into(), there: format!("{name}!").into(), context: 0 };
        names.iter().map(model).collect()
    }

    fn offered(lists: &Lists) -> Result<String, NoModels> {
        lists.offered().map(|models| {
            let names: Vec<_> =
                models.iter().map(|model| format!("{}{:?}", model.name, model.targets)).collect();
            names.join(" ")
        })
    }

    #[test]
    fn only_a_list_takes_names_away() {
        let mut lists = Lists::new([3]);
        assert_eq!((offered(&lists), lists.pause(3)), (Err(NoModels::Unreachable), SOON));
        assert_eq!(lists.note(3, None), ListChange::WentAway);
        assert_eq!(lists.note(3, None), ListChange::None);
        assert_eq!(lists.note(3, Some(Vec::new())), ListChange::Models);
        assert_eq!((offered(&lists), lists.pause(3)), (Err(NoModels::Empty), SOON));
        assert_eq!(lists.note(3, Some(list(&["a", "b"]))), ListChange::Models);
        assert_eq!(lists.note(3, Some(list(&["a", "b"]))), ListChange::None);
        assert_eq!(lists.pause(3), EVERY);
        assert_eq!(lists.note(3, None), ListChange::WentAway);
        assert_eq!(offered(&lists).unwrap(), r#"a[(3, "a!")] b[(3, "b!")]"#);
        assert!(lists.offered().unwrap()[0].is_away, "and they are down");
        assert_eq!(lists.pause(3), SOON);
        assert_eq!(lists.note(3, Some(list(&["a", "b"]))), ListChange::CameBack);
        assert_eq!(lists.note(3, Some(list(&["b"]))), ListChange::Models);
        assert_eq!(offered(&lists).unwrap(), r#"b[(3, "b!")]"#);
        assert_eq!(lists.note(4, Some(list(&["x"]))), ListChange::None, "it has no list");
    }

    #[test]
    fn a_name_in_two_lists_is_one_model() {
        let mut lists = Lists::new([1, 0]);
        let with = |context| vec![ListedModel { context, ..list(&["a"])[0].clone() }];
        lists.note(0, Some(with(0)));
        lists.note(1, Some(with(8)));
        assert_eq!(lists.offered().unwrap()[0].context, 8);
        lists.note(0, Some(with(4)));
        assert_eq!(lists.offered().unwrap()[0].context, 4);
        assert_eq!(offered(&lists).unwrap(), r#"a[(1, "a!"), (0, "a!")]"#);
        for (upstream, is_away) in [(0, false), (1, true)] {
            lists.note(upstream, None);
            assert_eq!(lists.offered().unwrap()[0].is_away, is_away);
        }
    }
}
