//! The container set-up without a container engine: what the image holds runs by itself, and the names in compose agree.
use crate::harness::{http_try, until};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Command, Output, Stdio},
};
use tidegate::config;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).expect(name)
}

/// The program with nothing round it but the files of the image.
fn in_image(image: &Path, listen: SocketAddr) -> tokio::process::Command {
    let mut command = tokio::process::Command::new("unshare");
    command.args(["--map-root-user", "--root"]).arg(image).arg("/usr/local/bin/tidegate");
    command.env_clear().env("PATH", "/usr/bin:/bin").env("TIDEGATE_LISTEN", listen.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

fn output_of(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

#[tokio::test]
async fn the_program_runs_with_the_files_of_its_image_alone() {
    let dockerfile = read("docker/Dockerfile");
    for line in [
        "COPY docker/collect /collect",
        "RUN /collect /tidegate /image",
        "FROM scratch",
        "COPY --from=build /image /",
    ] {
        assert!(dockerfile.lines().any(|other| other == line), "{line}");
    }
    assert!(dockerfile.contains("CMD [\"/usr/local/bin/tidegate\", \"health\"]"), "{dockerfile}");
    let image = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_tidegate");
    let collect =
        Command::new(root().join("docker/collect")).arg(program).arg(image.path()).output().unwrap();
    assert!(collect.status.success(), "{}", output_of(&collect));
    let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut gateway = in_image(image.path(), listen).arg("demo").spawn().expect("unshare is there");
    until("it answers", async || http_try(listen, "/livez").await.is_ok_and(|(status, _)| status == 200))
        .await;
    let (_, page) = http_try(listen, "/").await.unwrap();
    let health = in_image(image.path(), listen).arg("health").output().await.unwrap();
    gateway.kill().await.unwrap();
    assert!(page.contains("<html"), "{page}");
    assert!(health.status.success(), "{}", output_of(&health));
    let health = in_image(image.path(), listen).arg("health").output().await.unwrap();
    assert_eq!(health.status.code(), Some(1), "{}", output_of(&health));
}

#[test]
fn the_labels_of_the_image_are_those_of_the_manifest() {
    let dockerfile = read("docker/Dockerfile");
    for (label, value) in [
        ("title", "Tidegate"),
        ("version", env!("CARGO_PKG_VERSION")),
        ("licenses", env!("CARGO_PKG_LICENSE")),
        ("revision", "$REVISION"),
    ] {
        let line = format!("org.opencontainers.image.{label}=\"{value}\"");
        assert!(dockerfile.contains(&line), "{line}");
    }
}

/// `docker/compose.yaml` as its parser reads it.
fn compose() -> Value {
    let python = root().join("target/venv/bin/python");
    assert!(python.exists(), "{} is missing: tests/run makes it", python.display());
    let code = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)";
    let input = fs::File::open(root().join("docker/compose.yaml")).unwrap();
    let output = Command::new(python).args(["-c", code]).stdin(input).output().unwrap();
    assert!(output.status.success(), "{}", output_of(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn strings(value: &Value) -> BTreeSet<String> {
    let list = value.as_array().into_iter().flatten();
    list.map(|entry| entry.as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_service_has_limits_and_stops_restarting_after_a_few_failures() {
    for (name, service) in compose()["services"].as_object().unwrap() {
        assert_eq!(service["restart"], "on-failure:5", "{name}");
        assert_eq!((&service["read_only"], &service["cap_drop"][0]), (&true.into(), &"ALL".into()), "{name}");
        for bound in ["mem_limit", "pids_limit", "ulimits", "stop_grace_period", "logging"] {
            assert!(!service[bound].is_null(), "{name}: {bound}");
        }
    }
}

#[test]
fn the_secrets_of_compose_are_those_that_are_read() {
    let compose = compose();
    let declared: BTreeSet<_> = compose["secrets"].as_object().unwrap().keys().cloned().collect();
    let mut used = BTreeSet::new();
    for (name, service) in compose["services"].as_object().unwrap() {
        let secrets = strings(&service["secrets"]);
        let mut reads = BTreeSet::new();
        for value in service["environment"].as_object().into_iter().flat_map(|all| all.values()) {
            reads.extend(
                value.as_str().and_then(|path| path.strip_prefix("/run/secrets/")).map(str::to_owned),
            );
        }
        for file in main_files(service).iter().flat_map(|main| included(main)) {
            let paths = file.split("/run/secrets/").skip(1).filter_map(|rest| rest.split(';').next());
            reads.extend(paths.map(str::to_owned));
        }
        assert_eq!(secrets, reads, "{name}");
        used.extend(secrets);
    }
    assert_eq!(declared, used);
    assert!(read(".gitignore").contains("/docker/secrets/"), "no secret is committed");
}

/// The main file of nginx that a service runs with, if it is an nginx.
fn main_files(service: &Value) -> Option<String> {
    let entry = strings(&service["entrypoint"]);
    entry.iter().find_map(|word| word.strip_prefix("/etc/tidegate/")).map(|name| format!("nginx/{name}"))
}

/// A main file of nginx and all that it includes.
fn included(main: &str) -> Vec<String> {
    let text = read(main);
    let names = text.split("include ").skip(1).filter_map(|rest| rest.split(';').next());
    let names: Vec<_> =
        names.filter(|name| name.ends_with(".conf")).map(|name| format!("nginx/{name}")).collect();
    let mut all = vec![text.clone()];
    all.extend(names.iter().flat_map(|name| included(name)));
    all
}

#[test]
fn each_nginx_of_compose_has_its_files_its_ports_and_a_gateway() {
    let compose = compose();
    let services = compose["services"].as_object().unwrap();
    let mut profiles = BTreeSet::new();
    let mut proxies = 0;
    for (name, service) in services {
        profiles.extend(strings(&service["profiles"]));
        let Some(main) = main_files(service) else { continue };
        proxies += 1;
        let text = included(&main).concat();
        for port in strings(&service["ports"]) {
            let inside = port.rsplit(':').next().unwrap();
            assert!(text.contains(&format!("listen {inside}")), "{name}: {port}");
        }
        // The gateway that it waits for, by the name that its files ask for, and in a network of both.
        let awaited = service["depends_on"].as_object().unwrap();
        let (gateway, condition) = awaited.iter().next().unwrap();
        assert_eq!(condition["condition"], "service_healthy", "{name}");
        let gateway_service = &services[gateway];
        let networks = strings(&service["networks"]);
        let alias =
            |network: &String| strings(&gateway_service["networks"][network]["aliases"]).contains("gateway");
        assert!(text.contains("server gateway:8000 resolve"), "{name}");
        assert!(
            if networks.is_empty() { gateway == "gateway" } else { networks.iter().all(alias) },
            "{name}"
        );
        // A gateway behind it is started with it: no profile, or the same.
        let of_gateway = strings(&gateway_service["profiles"]);
        assert!(of_gateway.is_subset(&strings(&service["profiles"])), "{name}");
    }
    assert_eq!(proxies, 3);
    assert_eq!(profiles, BTreeSet::from(["demo".to_owned(), "tls".to_owned()]));
    let documents = read("README.md") + &read("docs/OPERATING.md");
    for profile in profiles {
        assert!(documents.contains(&format!("--profile {profile} up")), "{profile} is documented");
    }
}

/// The `server` lines of one `upstream {}`: address and what else stands there.
fn servers<'a>(main: &'a str, upstream: &str) -> Vec<(&'a str, &'a str)> {
    let block = main.split_once(&format!("upstream {upstream} {{")).expect(upstream).1;
    let lines = block.split('}').next().unwrap().lines().map(str::trim);
    let servers = lines.filter_map(|line| line.strip_prefix("server ")?.strip_suffix(';'));
    servers.map(|server| server.split_once(' ').unwrap()).collect()
}

// faults: K135
#[test]
fn sockets_and_pages_have_the_same_gateways_and_only_pages_mark_them() {
    for name in ["nginx/container.conf", "nginx/local.conf", "nginx/README.md"] {
        let text = read(name);
        let (pages, sockets) = (servers(&text, "gateway"), servers(&text, "gateway_socket"));
        let addresses = |servers: &[(&str, &str)]| -> Vec<String> {
            servers.iter().map(|(address, _)| (*address).to_owned()).collect()
        };
        assert!(!pages.is_empty() && addresses(&pages) == addresses(&sockets), "{name}");
        for (page, socket) in pages.iter().zip(&sockets) {
            assert_eq!(page.1.replace("max_fails=2 fail_timeout=5s", "max_fails=0"), socket.1, "{name}");
            assert!(socket.1.contains("max_fails=0"), "{name}");
        }
    }
}

#[test]
fn the_variables_of_compose_exist_and_are_documented() {
    let text = read("docker/compose.yaml");
    let documents = read("README.md") + &read("docs/OPERATING.md");
    for name in text.split("${").skip(1).filter_map(|rest| rest.split([':', '}']).next()) {
        assert!(documents.contains(name), "{name}");
    }
    let known: BTreeSet<_> = config::keys().flat_map(config::Key::variables).collect();
    for (name, service) in compose()["services"].as_object().unwrap() {
        for variable in service["environment"].as_object().into_iter().flat_map(|all| all.keys()) {
            let plain = variable.strip_suffix("_FILE").unwrap_or(variable);
            assert!(known.contains(plain), "{name}: {variable}");
        }
    }
}
