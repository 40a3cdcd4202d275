//! Several upstreams and models: which upstream is asked, by which name, with which key.
use crate::harness::{
    Gateway, RawClient, ScriptedUpstream, Tidegate, frame, handshake, http_get, read_request, sse_head,
};
use serde_json::{Value, json};
use tidegate::config::{Config, Flags, Map, load};

/// Takes upstreams and models from this file and these variables.
fn configure(config: &mut Config, source: &Map) {
    let loaded = load(&Flags::default(), source).unwrap();
    (config.upstreams, config.models, config.places) = (loaded.upstreams, loaded.models, loaded.places);
    config.route = loaded.route;
}

/// Asks on `/chat` and has this upstream answer; the head and the body of its request.
async fn asked(gateway: &Gateway, path: &str, upstream: &ScriptedUpstream) -> (String, Value) {
    let mut client = RawClient::connect(gateway.address).await;
    let request = handshake(gateway.address, &[]).replace("/chat ", &format!("{path} "));
    assert!(client.request(&request).await.starts_with("HTTP/1.1 101 "));
    client.write(&frame(0x81, b"hi")).await;
    let mut connection = upstream.accept().await;
    let (head, body) = connection.request().await;
    connection.send(sse_head()).await;
    connection.delta("No.").await;
    connection.finish().await;
    assert_eq!(client.read_frame().await, (0x81, b"No.".to_vec()));
    (head, serde_json::from_str(&body).unwrap())
}

#[tokio::test]
async fn each_model_is_asked_at_its_upstream_by_its_name_there_with_the_key_of_that_upstream() {
    let (cn, local) = (ScriptedUpstream::bind().await, ScriptedUpstream::bind().await);
    let file = format!(
        "[upstream]\nidle_timeout = '9s'\nmax_tokens = 7\n\
         [upstream.cn]\nservice = 'dashscope'\nbase_url = 'http://{}/api/v1'\n[upstream.local]\nservice = 'dashscope'\nextra = '{{\"top_k\": 1, \"enable_search\": true}}'\nbase_url = 'http://{}/local'\n\
         [model.plus]\nname = 'qwen-plus'\ntitle = 'Qwen Plus'\nupstreams = ['cn']\naliases = ['gpt-4o-mini']\n\
         [model.small]\nupstreams = ['local:Qwen/Qwen3-8B:q4*2']\nmax_tokens = 99\ntemperature = 0.5\n\
         thinking = 'off'\nsystem_prompt = 'Be brief.'\nclient = ['top_p', 'max_tokens']\ncontext = 8192\n\
         extra = '{{\"top_k\": 5}}'\n\
         [model.reserve]\nupstreams = ['local']\nhidden = true\n\
         [route]\ndefault = 'plus'\n",
        cn.address, local.address
    );
    let source = Map::default()
        .file("tidegate.toml", file)
        .variable("TIDEGATE_UPSTREAM__CN__API_KEY", "sk-of-cn")
        .variable("TIDEGATE_UPSTREAM__LOCAL__API_KEY_FILE", "/run/secrets/local")
        .file("/run/secrets/local", "sk-of-local\n");
    let gateway = Gateway::in_front_of(cn.address, |config| configure(config, &source)).await;

    for path in ["/chat", "/chat?model=qwen-plus", "/chat?model=gpt-4o-mini"] {
        let (head, body) = asked(&gateway, path, &cn).await;
        assert!(
            head.contains("\r\nauthorization: bearer sk-of-cn\r\n") && head.starts_with("post /api/v1/"),
            "{head}"
        );
        assert_eq!(body["model"], "qwen-plus");
        assert_eq!(body["parameters"]["max_tokens"], 7, "of [upstream]");
    }
    let (head, body) = asked(&gateway, "/chat?model=small", &local).await;
    assert!(
        head.contains("\r\nauthorization: bearer sk-of-local\r\n") && head.starts_with("post /local/"),
        "{head}"
    );
    assert_eq!(body["model"], "Qwen/Qwen3-8B:q4");
    let set = json!({"result_format": "message", "incremental_output": true, "enable_thinking": false,
        "max_tokens": 99, "temperature": 0.5, "top_k": 5, "enable_search": true});
    assert_eq!(body["parameters"], set);
    assert_eq!(body["input"]["messages"][0]["content"], "Be brief.");

    let (_, config) = http_get(gateway.address, "/api/config").await;
    let config: Value = serde_json::from_str(&config).unwrap();
    assert_eq!(
        config["models"],
        json!([
            {"id": "qwen-plus", "title": "Qwen Plus", "default": true, "state": "ok", "parameters": {}, "continues": true},
            {"id": "small", "title": "small", "default": false, "state": "ok",
                "parameters": {"top_p": {"min": 0, "max": 1}, "max_tokens": {"max": 99}}, "continues": true},
        ])
    );
    for hidden in ["reserve", "plus"] {
        let mut client = RawClient::connect(gateway.address).await;
        let request = handshake(gateway.address, &[]).replace("/chat ", &format!("/chat?model={hidden} "));
        let refused = client.request(&request).await;
        assert!(refused.starts_with("HTTP/1.1 400 "), "{hidden} is no name for clients: {refused}");
    }
    gateway.stop().await;
}

/// Lists two models to one key, and refuses every other.
async fn list_models() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                while let Ok((head, _)) = read_request(&mut stream).await {
                    assert!(head.starts_with("get /v1/models http/1.1\r\n"), "{head}");
                    let (status, body) = match head.contains("\r\nauthorization: bearer sk-good\r\n") {
                        true => {
                            ("200 OK", r#"{"object":"list","data":[{"id":"here"},{"id":"tagged:latest"}]}"#)
                        }
                        false => ("401 Unauthorized", r#"{"error":{"message":"sk-bad is no key"}}"#),
                    };
                    let length = body.len();
                    let answer = format!(
                        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
                    );
                    if tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn check_probes_each_upstream_with_each_key() {
    let (address, folder) = (list_models().await, tempfile::TempDir::new().unwrap());
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let file = folder.path().join("tidegate.toml");
    let text = format!(
        "[upstream.a]\nservice = 'other'\nbase_url = 'http://{address}/v1'\napi_key = 'sk-good,sk-bad'\n\
         [upstream.gone]\nservice = 'vllm'\nbase_url = 'http://{gone}/v1'\n[upstream.q]\nservice = 'dashscope'\napi_key = 'sk-q'\n\
         [model.m]\nupstreams = ['a:here a:tagged', 'a:away gone q']\n"
    );
    std::fs::write(&file, text).unwrap();
    let ended = Tidegate::new(&["check", "--probe", "--config", file.to_str().unwrap()]).run().await;
    assert_eq!(ended.code, Some(64), "{}{}", ended.out, ended.err);
    let lines: Vec<_> = ended.err.lines().filter(|line| line.starts_with("probe: ")).collect();
    assert_eq!(lines.len(), 5, "{}", ended.err);
    assert_eq!(
        lines[..3],
        [
            "probe: a k1: 2 models",
            "probe: a k1: away is not listed, which model.m asks for",
            "probe: a k2: the key is refused (status 401)",
        ]
    );
    assert!(lines[3].starts_with("probe: gone: no list of models: "), "{}", lines[3]);
    assert_eq!(lines[4], "probe: q: dashscope has no list of models, so its keys are not tried");
    assert!(!format!("{}{}", ended.out, ended.err).contains("sk-"));
}
