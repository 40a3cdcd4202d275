//! The documents say what is so: links, metrics, routes, keys, sentences, close codes, statuses.
use crate::harness::{Gateway, RawClient, ScriptedUpstream, TestClient, handshake, http_get, sse_head};
use std::{collections::BTreeSet, fs, path::Path, time::Duration};
use tidegate::{
    chat::{Catalog, IdFault, Model, ParameterFault, RequestId, RunErrorKind, price::Cost},
    config,
    metrics::Metrics,
    protocol::{self, Close, Codec, Incoming, Rejection, ServerFrame},
    upstream::route::{Health, ModelHealth, ModelState, TargetHealth, TargetStanding},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).expect(name)
}

/// Every document: its name and its text.
fn documents() -> Vec<(String, String)> {
    let mut names = vec!["README.md".to_owned(), "README.zh-CN.md".to_owned(), "nginx/README.md".to_owned()];
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!([".md", ".png", ".toml"].iter().any(|ending| name.ends_with(ending)), "{name}");
        if name.ends_with(".md") {
            names.push(format!("docs/{name}"));
        }
    }
    names.into_iter().map(|name| (name.clone(), read(&name))).collect()
}

/// What stands between two backticks, outside of fenced blocks.
fn spans(text: &str) -> Vec<String> {
    let prose = text.split("```").step_by(2);
    let of_line = |line: &str| line.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    prose.flat_map(str::lines).flat_map(of_line).collect()
}

/// The rows of the table below a heading, cells trimmed.
fn rows(text: &str, heading: &str) -> Vec<Vec<String>> {
    let below = text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}")).1;
    let table =
        below.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells = |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    table.skip(2).map(cells).collect()
}

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn every_link_leads_somewhere() {
    let mut links = 0;
    for (name, text) in documents() {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") {
                continue;
            }
            links += 1;
            let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
            let folder = root().join(&name).parent().unwrap().to_owned();
            let target = if path.is_empty() { root().join(&name) } else { folder.join(path) };
            assert!(target.exists(), "{name}: {link}");
            if !fragment.is_empty() {
                let headings = fs::read_to_string(target).unwrap();
                let found = headings.lines().filter(|line| line.starts_with('#'));
                let mut found = found.map(|line| anchor(line.trim_start_matches('#').trim()));
                assert!(found.any(|heading| heading == fragment), "{name}: {link}");
            }
        }
    }
    assert!(links > 20, "the links were found: {links}");
}

/// All metrics as `/metrics` shows them. A histogram with a label shows itself when it has a value, and so does what is
/// labelled with a model.
fn metrics_text() -> String {
    let metrics = Metrics::default();
    metrics.turn_ended("stop", Duration::ZERO);
    drop(metrics.event_loop_lag(0));
    metrics.upstreams.moved("m", RunErrorKind::UpstreamError);
    metrics.upstreams.cost(&"m".into(), Cost::default());
    let models = vec![ModelHealth {
        name: "m".into(),
        state: ModelState::Ok,
        targets: vec![TargetHealth {
            upstream: "default".into(),
            model: "m".into(),
            state: TargetStanding::Ok,
            free_in: None,
        }],
    }];
    metrics.upstreams.publish(&Health { upstreams: Vec::new(), models });
    metrics.text().unwrap()
}

/// The names of the labels of a metric, from its first sample.
fn labels(text: &str, name: &str) -> Vec<String> {
    let samples = text.lines().filter_map(|line| line.strip_prefix(name)?.split_once('{'));
    let sample = samples.map(|(kind, labels)| (kind, labels.split('}').next().unwrap_or_default()));
    let mut sample = sample.filter(|(kind, _)| ["", "_count"].contains(kind));
    let pairs = sample.next().map_or("", |(_, labels)| labels).split(',');
    pairs.filter_map(|pair| Some(format!("`{}`", pair.split_once('=')?.0))).collect()
}

/// The table of metrics in Markdown, from what `/metrics` declares.
fn metrics_table() -> String {
    let text = metrics_text();
    let mut table = String::from("| metric | type | labels | what |\n| --- | --- | --- | --- |\n");
    for line in text.lines() {
        let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) else {
            continue;
        };
        let kind = text.lines().find_map(|line| line.strip_prefix(&format!("# TYPE {name} "))).unwrap();
        let labels = labels(&text, name).join(", ");
        table += &format!("| `{name}` | {kind} | {labels} | {} |\n", help.trim_end_matches('.'));
    }
    table
}

/// The values of every label with a closed set, from what is there at the start.
fn labels_table() -> String {
    let text = metrics_text();
    let mut table = String::from("| metric | label | values |\n| --- | --- | --- |\n");
    let mut values: Vec<(String, Vec<String>)> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && line.contains("_total{")) {
        let (name, labels) = line.split_once('{').unwrap();
        for pair in labels.split('}').next().unwrap().split(',') {
            let (label, value) = pair.split_once('=').unwrap();
            let (key, value) =
                (format!("| `{name}` | `{label}` |"), format!("`{}`", value.trim_matches('"')));
            let at = values.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
                values.push((key, Vec::new()));
                values.len() - 1
            });
            if !values[at].1.contains(&value) {
                values[at].1.push(value);
            }
        }
    }
    for (key, mut of_label) in values.into_iter().filter(|(_, of_label)| of_label.len() > 1) {
        of_label.sort();
        table += &format!("{key} {} |\n", of_label.join(", "));
    }
    table
}

#[test]
fn the_documents_have_the_tables_of_metrics() {
    let document = read("docs/METRICS.md");
    let source = ["mod", "inference", "process", "upstreams"]
        .map(|file| read(&format!("src/metrics/{file}.rs")))
        .concat();
    let source: String = source.split_whitespace().collect();
    // The build's information is registered by hand.
    let declared = [":of.", "=of."].map(|way| source.matches(way).count()).iter().sum::<usize>() + 1;
    assert_eq!(metrics_table().lines().count() - 2, declared, "all that are declared are shown");
    let mut blessed = document.clone();
    for (mark, table) in [("metrics", metrics_table()), ("labels", labels_table())] {
        let (start, end) = (format!("<!-- {mark} -->\n"), format!("<!-- /{mark} -->"));
        let (before, rest) = blessed.split_once(&start).expect("the start mark is there");
        let after = rest.split_once(&end).expect("the end mark is there").1;
        blessed = format!("{before}{start}{table}{end}{after}");
    }
    if document != blessed {
        fs::create_dir_all(root().join("target")).unwrap();
        fs::write(root().join("target/METRICS.blessed.md"), blessed).unwrap();
        panic!("docs/METRICS.md has an old table; to renew it: cp target/METRICS.blessed.md docs/METRICS.md");
    }
}

/// Sources of `COPY` from the repository, and what `.dockerignore` lets through.
#[test]
fn every_source_that_docker_copies_is_there() {
    let dockerfile = read("docker/Dockerfile");
    let ignore = read(".dockerignore");
    let let_through: Vec<_> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(ignore.lines().any(|line| line == "*"), "everything else stays out");
    let copies = dockerfile.lines().filter_map(|line| line.strip_prefix("COPY "));
    let mut seen = 0;
    for copy in copies.filter(|copy| !copy.contains("--from=")) {
        let words: Vec<_> = copy.split_whitespace().filter(|word| !word.starts_with("--")).collect();
        for source in &words[..words.len() - 1] {
            seen += 1;
            assert!(root().join(source).exists(), "{copy}");
            let fits = |name: &&&str| *source == **name || source.starts_with(&format!("{name}/"));
            assert!(let_through.iter().any(|name| fits(&name)), "{source} is kept out by .dockerignore");
        }
    }
    assert!(seen >= 4, "{seen}");
    // What the manifest names must be in the image, or cargo refuses it.
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    for bench in manifest["bench"].as_array().unwrap() {
        let name = bench["name"].as_str().unwrap();
        let default = [format!("benches/{name}.rs"), format!("benches/{name}/main.rs")];
        let path = bench.get("path").and_then(|path| path.as_str());
        let found = path
            .map_or(default.iter().any(|path| root().join(path).exists()), |path| root().join(path).exists());
        assert!(found, "{name}");
    }
    assert!(let_through.contains(&"benches") && let_through.contains(&"src"));
}

#[tokio::test]
async fn every_route_of_the_documents_answers() {
    let gateway = Gateway::spawn(|_| {}).await;
    let spans = spans(&read("docs/OPERATING.md"));
    let routes: Vec<_> = spans.into_iter().filter(|span| span.starts_with("GET /")).collect();
    assert!(routes.len() >= 10, "{routes:?}");
    for route in routes {
        let (status, _) = http_get(gateway.address, &route["GET ".len()..]).await;
        let expected = match route.as_str() {
            "GET /chat" | "GET /api/chat" => 426,
            // The name of no chat.
            "GET /api/chats/{id}" => 400,
            _ => 200,
        };
        assert_eq!(status, expected, "{route}");
    }
    let (_, health) = http_get(gateway.address, "/health").await;
    let health: serde_json::Value = serde_json::from_str(&health).unwrap();
    for field in ["version", "uptime_s", "model", "sockets", "sessions", "runs", "queued", "upstreams"] {
        assert!(!health[field].is_null(), "{field} in {health}");
    }
    gateway.stop().await;
}

#[test]
fn keys_and_variables_that_documents_name_exist() {
    let groups: BTreeSet<_> = config::SECTIONS.iter().map(|section| section.kind).collect();
    let variables: BTreeSet<_> = config::keys().flat_map(config::Key::variables).collect();
    let mut seen = 0;
    for (name, text) in documents() {
        // The table of old names, which the configuration's own tests hold.
        let text = match (text.split_once("<!-- renamed keys -->"), text.split_once("<!-- /renamed keys -->"))
        {
            (Some((before, _)), Some((_, after))) => format!("{before}{after}"),
            _ => text,
        };
        for span in spans(&text) {
            let word = span.split([' ', '=', '…']).next().unwrap_or_default();
            let is_variable = word.starts_with("TIDEGATE_") || word.contains("API_KEY");
            let plain = word.strip_suffix("_FILE").unwrap_or(word);
            if is_variable && !plain.contains("A__B") && !plain.contains("__CN__") && plain != "CN_API_KEY" {
                seen += 1;
                assert!(variables.contains(plain), "{name}: {span}");
            }
            let Some((_, field)) = word.split_once('.').filter(|(group, _)| groups.contains(group)) else {
                continue;
            };
            let is_file = ["rs", "conf", "md"].contains(&field);
            seen += 1;
            assert!(
                is_file || field == "*" || config::find(&word.replace(".NAME.", ".")).is_some(),
                "{name}: {span}"
            );
        }
    }
    assert!(seen > 100, "the keys were found: {seen}");
}

/// The rejection of a model that is not among two others.
fn unknown_model() -> Rejection {
    let catalog = Catalog::new(["qwen-plus", "qwen-max"].map(Model::named).into());
    catalog.find(Some("gone")).unwrap_err().into()
}

#[test]
fn the_protocol_has_every_error() {
    let protocol = read("docs/PROTOCOL.md");
    let documented: Vec<_> = rows(&protocol, "### An answer failed or broke off");
    let right = RunErrorKind::ALL.map(|kind| vec![format!("`{}`", kind.code()), kind.sentence().to_owned()]);
    assert_eq!(documented, right);
    let documented: Vec<_> =
        rows(&protocol, "### A message was not taken").into_iter().map(|row| row[1].clone()).collect();
    let right = [
        Rejection::Empty,
        Rejection::TooLong { bytes: 70_000, limit: 65_536 },
        Rejection::Binary,
        Rejection::QueueFull { limit: 8 },
        Rejection::Draining,
        unknown_model(),
        Rejection::ServiceAway,
        Rejection::NothingOffered,
    ];
    assert_eq!(documented, right.map(|refusal| format!("`Error: {refusal}`")));
}

#[test]
fn the_protocol_has_every_close_code() {
    let documented: Vec<_> = rows(&read("docs/PROTOCOL.md"), "## The end")
        .into_iter()
        .map(|row| (row[0].parse::<u16>().unwrap(), row[1].clone()))
        .collect();
    assert_eq!(documented, Close::ALL.map(|close| (close.code(), close.reason().to_owned())));
}

/// What stands on the arrows of the drawing: the client's message, then the pieces of the answer.
#[tokio::test]
async fn the_drawing_of_the_protocol_can_be_played() {
    let protocol = read("docs/PROTOCOL.md");
    let drawing = protocol.split("```").nth(1).unwrap();
    let texts: Vec<_> = drawing.split('"').skip(1).step_by(2).collect();
    let (message, pieces) = texts.split_first().unwrap();
    let upstream = ScriptedUpstream::bind().await;
    let gateway = Gateway::in_front_of(upstream.address, |_| {}).await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.send_text(message).await;
    let mut connection = upstream.accept().await;
    assert!(connection.request().await.1.contains(message));
    connection.send(sse_head()).await;
    for piece in pieces {
        connection.delta(piece).await;
        assert_eq!(client.read_text().await, *piece);
    }
    connection.finish().await;
    client.close().await;
    gateway.stop().await;
}

// faults: A1, A2
#[tokio::test]
async fn the_statuses_before_a_socket_are_those_of_the_protocol() {
    let gateway = Gateway::spawn(|config| {
        config.connection.count_max = 2;
        config.connection.count_per_address_max = 1;
    })
    .await;
    let here = gateway.address;
    let good = handshake(here, &[]);
    let held = RawClient::upgrade(here).await;
    let requests = [
        (400, good.replace("dGhlIHNhbXBsZSBub25jZQ==", "short")),
        (400, good.replace("upgrade: websocket", "upgrade: h2c")),
        (403, handshake(here, &[("origin", "http://evil.test")])),
        (404, good.replace("/chat", "/nowhere")),
        (405, good.replace("GET", "POST")),
        (421, good.replace(&here.to_string(), "evil.test")),
        (426, good.replace("version: 13", "version: 8")),
        (426, format!("GET /chat HTTP/1.1\r\nhost: {here}\r\n\r\n")),
        (429, good.clone()),
    ];
    // 500 needs a system without randomness: the sentence has a test of its own.
    let mut seen = BTreeSet::from([500, 503]);
    for (status, request) in requests {
        let head = RawClient::connect(here).await.request(&request).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request}{head}");
        assert_eq!(head.to_lowercase().contains("retry-after"), status == 429, "{head}");
        seen.insert(status);
    }
    drop(held);
    gateway.stop().await;
    let full = Gateway::spawn(|config| config.connection.count_max = 1).await;
    let held = RawClient::upgrade(full.address).await;
    let head = RawClient::connect(full.address).await.request(&handshake(full.address, &[])).await;
    assert!(head.starts_with("HTTP/1.1 503 ") && head.to_lowercase().contains("retry-after"), "{head}");
    drop(held);
    full.stop().await;
    let documented: BTreeSet<u16> = rows(&read("docs/PROTOCOL.md"), "## Before the socket")
        .iter()
        .flat_map(|row| row[0].split([',', ' ']).filter_map(|word| word.parse().ok()).collect::<Vec<_>>())
        .collect();
    assert_eq!(documented, seen);
}

const AI_SDK: &str = "\n# The AI SDK dialect of `/api/chat`\n";

/// The dialect's part of the protocol.
fn ai_sdk(protocol: &str) -> &str {
    let rest = protocol.split_once(AI_SDK).expect("the dialect has a part").1;
    rest.split("\n# ").next().unwrap_or_default()
}

/// Lines of JSON in the fenced blocks of a text.
fn json_lines(text: &str) -> Vec<&str> {
    let blocks = text.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("json\n"));
    blocks.flat_map(str::lines).collect()
}

#[test]
fn the_frames_of_the_protocol_are_those_that_are_read_and_written() {
    let protocol = read("docs/PROTOCOL.md");
    let section = ai_sdk(&protocol);
    let written = read("tests/fixtures/ai_sdk/server.json");
    let written: BTreeSet<_> = written.lines().map(|line| line.trim_end_matches(',')).collect();
    let limits = protocol::Limits { message_bytes: 64 * 1024, client_system_prompt: false };
    let (mut sent, mut received) = (BTreeSet::new(), BTreeSet::new());
    for line in json_lines(section) {
        let frame: serde_json::Value = serde_json::from_str(line).expect(line);
        let name = |frame: &serde_json::Value| frame["type"].as_str().unwrap().to_owned();
        if ["send", "resume", "abort", "ping"].contains(&name(&frame).as_str()) {
            let read = Codec::AiSdk.decode(Incoming::Text(line), limits);
            assert!(read.is_ok(), "{line}: {read:?}");
            sent.insert(name(&frame));
        } else if name(&frame) == "pong" {
            let mut encoder = Codec::AiSdk.encoder(Some(&RequestId::new("p1").unwrap()));
            encoder.encode(&ServerFrame::Pong, |text| assert_eq!(text, line));
            received.insert(name(&frame));
        } else {
            assert!(written.contains(line), "nothing like it is written: {line}");
            received.insert(name(frame.get("chunk").unwrap_or(&frame)));
        }
    }
    let all = written.iter().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let all: BTreeSet<_> = all
        .filter_map(|frame| Some(frame.get("chunk").unwrap_or(&frame)["type"].as_str()?.to_owned()))
        .collect();
    assert_eq!((sent.len(), received), (4, all), "every kind of frame and chunk is shown");
}

#[test]
fn the_protocol_lists_the_requests_that_may_be_sent_again() {
    let protocol = read("docs/PROTOCOL.md");
    let section = ai_sdk(&protocol);
    let list = section.split_once("Worth trying again are").unwrap().1.split_once('.').unwrap().0;
    let right = RunErrorKind::ALL.into_iter().filter(|kind| kind.can_be_asked_again());
    assert_eq!(spans(list), right.map(|kind| kind.code().to_owned()).collect::<Vec<_>>());
    let all = [
        Rejection::Empty,
        Rejection::TooLong { bytes: 70_000, limit: 65_536 },
        Rejection::Binary,
        Rejection::QueueFull { limit: 8 },
        Rejection::Draining,
        Rejection::Malformed { field: "type", fault: "is missing" },
        Rejection::BadId { field: "id", fault: IdFault::TooLong },
        Rejection::UnsupportedPart { kind: "file" },
        Rejection::BadParameter {
            fault: ParameterFault::Field { field: "temperature", must: "must be 0 to 2".into() },
        },
        Rejection::BadParameter { fault: ParameterFault::NotContinued },
        unknown_model(),
        Rejection::ServiceAway,
        Rejection::NothingOffered,
        Rejection::DuplicateRequest,
        Rejection::TooManyRequests { limit: 64 },
        Rejection::BadResume,
        Rejection::TooOften { after: Duration::from_millis(900) },
        Rejection::TakenOver,
        Rejection::Unavailable,
        Rejection::TooManyChats,
        Rejection::Overloaded { after: Duration::from_secs(7) },
    ];
    let row = |refusal: Rejection| {
        let again = if refusal.is_retryable() { "yes" } else { "no" };
        vec![format!("`{}`", refusal.code()), refusal.to_string(), again.to_owned()]
    };
    assert_eq!(rows(section, "### Errors"), all.map(row));
}
