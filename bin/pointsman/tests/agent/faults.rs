//! The API in trouble, while Services are routed: the kernel goes on as it was, the agent says why
//! it knows nothing newer, and afterwards the kernel holds what the API says.

use nix::sys::signal::Signal;

use crate::api::{Api, Gate};
use crate::meters::scrape;
use crate::stage::{Running, Stage, said};

struct Fault {
    gate: Gate,
    /// What status and readiness say of it.
    words: &'static str,
}

fn start(stage: &Stage, api: &Api) -> Running {
    let mut command = api.pointsman(stage);
    command.arg("--watch-silence=2");
    Running::start(command)
}

/// The rules without the counters of their chains.
fn rules(stage: &Stage) -> Vec<String> {
    let text = stage.tool("iptables-save -t nat");
    text.lines().filter(|line| line.starts_with("-A")).map(str::to_owned).collect()
}

fn readyz(stage: &Stage) -> String {
    stage.tool("curl --silent --include --max-time 5 http://127.0.0.1:10256/readyz")
}

fn status(stage: &Stage) -> String {
    let mut command = stage.lab.at("alpha").unwrap().command(env!("CARGO_BIN_EXE_pointsman"));
    said(&command.arg("status").output().unwrap()).1
}

/// Compares the kernel with a plan from nothing: there must be nothing to write.
fn kernel_holds_the_plan(stage: &Stage, api: &Api) {
    let output = api.pointsman(stage).args(["--once", "-v=2"]).output().unwrap();
    let (code, log) = said(&output);
    assert_eq!(code, Some(0), "{log}");
    let written: Vec<&str> = log.lines().filter(|line| line.contains("DEBUG written ")).collect();
    assert!(written.len() == 1 && written[0].contains("messages=0"), "{log}");
}

fn survives(fault: &Fault) {
    let stage = Stage::new();
    let api = Api::start(&stage.lab);
    api.create_my_service(&["10.77.1.4"]);
    let mut agent = start(&stage, &api);
    stage.until("my-service answers", |stage| stage.ask().is_some());
    stage.until("the agent is ready", |stage| readyz(stage).starts_with("HTTP/1.1 200"));
    let before = rules(&stage);
    api.turn(fault.gate.clone());
    // What the agent cannot know yet.
    api.set_endpoints(&["10.77.1.5"]);
    stage.until("readiness says why", |stage| {
        let readyz = readyz(stage);
        readyz.starts_with("HTTP/1.1 503")
            && readyz.contains("watch-stale")
            && readyz.contains(fault.words)
    });
    let told = status(&stage);
    assert!(told.contains("watch-stale") && told.contains(fault.words), "{told}");
    let series = scrape(&stage);
    assert_eq!(series["pointsman_not_ready{reason=\"watch-stale\"}"], 1.0);
    assert!(series["pointsman_watch_last_event_age_seconds{kind=\"EndpointSlice\"}"] > 2.0);
    assert_eq!(rules(&stage), before, "the kernel goes on as it was");
    assert_eq!(stage.ask().as_deref(), Some("my-app-1"));
    assert!(agent.0.try_wait().unwrap().is_none(), "the agent goes on");
    api.turn(Gate::Open);
    stage.until("the new endpoint answers", |stage| stage.ask().as_deref() == Some("my-app-2"));
    stage.until("the agent is ready again", |stage| readyz(stage).starts_with("HTTP/1.1 200"));
    kernel_holds_the_plan(&stage, &api);
    let (code, log) = agent.stop(Signal::SIGTERM);
    assert_eq!(code, Some(0), "{log}");
}

/// kubernetes#76338: a connection that is cut without a word.
#[test]
fn an_api_that_falls_silent() {
    survives(&Fault { gate: Gate::Silent, words: "nothing heard of" });
}

#[test]
fn an_api_that_ends_every_connection() {
    survives(&Fault { gate: Gate::Shut, words: "cannot be reached" });
}

#[test]
fn an_api_with_an_error_of_its_own() {
    survives(&Fault { gate: Gate::Answer(500, "InternalError"), words: "500" });
}

#[test]
fn an_api_that_has_forgotten_the_version() {
    survives(&Fault { gate: Gate::Answer(410, "Expired"), words: "410" });
}

#[test]
fn an_api_that_asks_for_rest() {
    survives(&Fault { gate: Gate::Answer(429, "TooManyRequests"), words: "429" });
}

#[test]
fn an_api_that_speaks_no_http() {
    survives(&Fault { gate: Gate::Garbage, words: "cannot be reached" });
}

/// As long as something comes, it is waited for.
#[test]
fn an_api_whose_words_come_in_drops_is_followed() {
    let stage = Stage::new();
    let api = Api::start(&stage.lab);
    api.create_my_service(&["10.77.1.4"]);
    let _agent = start(&stage, &api);
    stage.until("my-service answers", |stage| stage.ask().is_some());
    api.turn(Gate::Slow);
    api.set_endpoints(&["10.77.1.5"]);
    stage.until("the new endpoint answers", |stage| stage.ask().as_deref() == Some("my-app-2"));
    kernel_holds_the_plan(&stage, &api);
}

#[test]
fn an_api_that_takes_the_token_no_more() {
    survives(&Fault { gate: Gate::Answer(401, "Unauthorized"), words: "401" });
}

#[test]
fn an_api_that_is_away_at_the_start() {
    let stage = Stage::new();
    let api = Api::start(&stage.lab);
    api.create_my_service(&["10.77.1.4"]);
    let agent = start(&stage, &api);
    stage.until("my-service answers", |stage| stage.ask().is_some());
    agent.kill();
    let before = rules(&stage);
    api.turn(Gate::Shut);
    api.set_endpoints(&["10.77.1.5"]);
    let agent = start(&stage, &api);
    let curl = ["--silent", "--include", "--max-time", "5", "http://127.0.0.1:10256/readyz"];
    let mut last = String::new();
    stage.until("readiness says why", |stage| {
        let mut command = stage.lab.at("alpha").unwrap().command("curl");
        last = said(&command.args(curl).output().unwrap()).1;
        last.contains("not-synced") && last.contains("cannot be reached")
    });
    assert!(last.starts_with("HTTP/1.1 503"), "{last}");
    let told = status(&stage);
    assert!(told.contains("the kernel keeps what it held"), "{told}");
    assert_eq!(rules(&stage), before, "the kernel goes on as it was");
    assert_eq!(stage.ask().as_deref(), Some("my-app-1"));
    api.turn(Gate::Open);
    stage.until("the new endpoint answers", |stage| stage.ask().as_deref() == Some("my-app-2"));
    // What could not be posted at the start is posted now.
    stage.until("the Event of the start", |_| !api.events("Node", "alpha", "Starting").is_empty());
    kernel_holds_the_plan(&stage, &api);
    agent.kill();
}
