//! Asks each upstream for its list of models, with each of its keys, and compares the lists with the configuration. No
//! model is asked, so it costs nothing.
use crate::{
    chat::RunError,
    config::{Config, DEFAULT_NAME, SectionName},
    dispatch,
    upstream::{
        client::{Client, Question},
        listed,
        route::Key,
    },
};
use std::sync::Arc;

/// What the upstreams answered.
#[derive(Debug, Default)]
pub struct UpstreamProbe {
    /// One for each list and for each thing that is missing.
    pub lines: Vec<String>,
    /// Something is missing, or an upstream or a key does not work.
    pub is_missing: bool,
}

impl UpstreamProbe {
    /// Asks the upstreams of this configuration, which are given in its order.
    pub async fn ask(config: &Config, upstreams: &[dispatch::Upstream]) -> Self {
        let mut probe = UpstreamProbe::default();
        for (at, ((name, settings), upstream)) in
            config.upstreams_in_use().into_iter().zip(upstreams).enumerate()
        {
            let label = name.map_or(DEFAULT_NAME, SectionName::as_str);
            let Some(path) = settings.list_path() else {
                let service = settings.service.name;
                probe
                    .lines
                    .push(format!("{label}: {service} has no list of models, so its keys are not tried"));
                continue;
            };
            let client = Client::new(Arc::clone(&upstream.client));
            let keys = settings.api_keys().len();
            for key in 0..keys.max(1) {
                let question = Question::list(path, Key(key), upstream.dialect.headers());
                let label = if keys == 0 { label.to_owned() } else { format!("{label} k{}", key + 1) };
                let wanted = wanted(config, at);
                match client.ask(&question).await {
                    Ok(body) => probe.compare(&label, &body, &wanted),
                    Err(error) => probe.fail(format!("{label}: {}", problem(&error))),
                }
            }
        }
        probe
    }

    fn fail(&mut self, line: String) {
        self.lines.push(line);
        self.is_missing = true;
    }

    fn compare(&mut self, label: &str, body: &[u8], wanted: &[(String, String)]) {
        let listed = match listed::names(body) {
            Ok(listed) => listed,
            Err(problem) => {
                return self.fail(format!("{label}: what it answers is no list of models ({problem})"));
            }
        };
        self.lines.push(format!("{label}: {} models", listed.len()));
        for (model, name) in wanted {
            // Ollama lists a name without a tag with the tag `latest`.
            let is_it = |listed: &String| listed == name || listed.strip_suffix(":latest") == Some(name);
            if !listed.iter().any(is_it) {
                self.fail(format!("{label}: {name} is not listed, which {model} asks for"));
            }
        }
    }
}

/// Each model that is asked at this upstream, and its name there.
fn wanted(config: &Config, upstream: usize) -> Vec<(String, String)> {
    let mut wanted = Vec::new();
    for model in config.models_in_use() {
        let label = match model.settings {
            Some(_) => format!("model.{}", model.section),
            None => "upstream.model".to_owned(),
        };
        let here = model.levels.iter().flatten().filter(|(at, ..)| *at == upstream);
        wanted.extend(
            here.map(|(_, name, _)| (label.clone(), (*name).to_owned())).filter(|(_, name)| !name.is_empty()),
        );
    }
    wanted
}

fn problem(error: &RunError) -> String {
    match error.status {
        Some(status @ (401 | 403)) => format!("the key is refused (status {status})"),
        Some(status) => format!("no list of models (status {status})"),
        None => format!("no list of models: {error}"),
    }
}
