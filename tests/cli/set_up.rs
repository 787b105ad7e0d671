//! Help, completions, `init`, `plugin`, `doctor`, logging and colours.

use std::fs;
use std::process::Stdio;

use crate::guests;
use crate::place::Place;

/// Commands, each with what its help has to name.
const COMMANDS: &[(&str, &[&str])] = &[
    ("run", &["--demo", "--llm", "--max-parallel", "--plugin", "--record-fixtures", "--state", "--json", "Examples:"]),
    ("plan", &["--llm", "--json"]),
    ("land", &["--json", "git merge"]),
    ("status", &["--spec", "--json", "JSON:"]),
    ("tasks", &["--only", "--skill", "--sort", "--after", "--state", "Examples:", "JSON:"]),
    ("task set", &["--priority", "--expect-version", "Examples:", "JSON:"]),
    ("task claim", &["--worker", "--skill", "Exit code 1", "Examples:", "JSON:"]),
    ("task done", &["--worker", "--commit", "Example:"]),
    ("task fail", &["--worker", "--reason", "Example:"]),
    ("task release", &["--worker", "Example:"]),
    ("issue add", &["--label", "--priority", "Examples:", "JSON:"]),
    ("issue ls", &["--all", "JSON:"]),
    ("issue route", &["--into", "Examples:", "JSON:"]),
    ("issue close", &["--reason", "Example:"]),
    ("serve", &["owner.sock", "Example:"]),
    ("show", &["--attempt", "--conversation", "JSON:"]),
    ("logs", &["--follow", "--lines", "JSON:"]),
    ("events", &["--after", "--kind", "--since", "--follow", "Examples:", "JSON:"]),
    ("graph", &["mermaid", "dot", "waves", "JSON:"]),
    ("spec check", &["--strict", "JSON:"]),
    ("spec tick", &["--undo"]),
    ("spec sync", &["--dry-run", "--state", "Examples:", "JSON:"]),
    ("artifact ls", &["--task", "JSON:"]),
    ("artifact get", &["--output"]),
    ("plugin ls", &["JSON:"]),
    ("plugin install", &["--sha256", "necro.lock", "Examples:", "JSON:"]),
    ("plugin update", &["--from", "Examples:", "JSON:"]),
    ("plugin remove", &["Example:", "JSON:"]),
    ("plugin grant", &["--allow", "--max-tokens", "Examples:", "JSON:"]),
    ("plugin revoke", &["--interface", "Examples:", "JSON:"]),
    ("plugin diff", &["Examples:", "JSON:"]),
    ("plugin new", &["--kind", "--lang", "--sdk", "Examples:", "JSON:"]),
    ("plugin build", &["wasm32-wasip2", "Exit code 1", "JSON:"]),
    ("plugin check", &["Exit code 1", "Examples:", "JSON:"]),
    ("plugin test", &["NECRO_HOST", "JSON:"]),
    ("plugin dev", &["--once", "--state", "Examples:", "JSON:"]),
    ("plugin exec", &["--request", "--fixture", "Examples:", "JSON:"]),
    ("plugin swap", &["--max-changed", "--last", "--state", "Examples:", "JSON:"]),
    ("plugin rollback", &["--to", "Examples:", "JSON:"]),
    ("plugin history", &["Examples:", "JSON:"]),
    ("resume", &["--llm", "Examples:", "JSON:"]),
    ("replay", &["--with", "--at", "--into", "Examples:", "JSON"]),
    ("plugin inspect", &["JSON:"]),
    ("stop", &["--timeout", "exit code 0", "JSON:"]),
    ("prune", &["--older-than", "--keep-size", "--dry-run", "JSON:"]),
    ("registry verify", &["--backup", "Examples:", "JSON:"]),
    ("registry rebuild", &["JSON:"]),
    ("registry backup", &["--copy", "Examples:", "JSON:"]),
    ("registry restore", &["--force", "Examples:", "JSON:"]),
    ("registry export", &["--spec", "Examples:", "JSON:"]),
    ("registry import", &["--skip-damaged", "--utc-offset", "Examples:", "JSON:"]),
    ("lock ls", &["JSON:"]),
    ("lock release", &["--force", "Example:", "JSON:"]),
    ("slot ls", &["HEALTH", "JSON:"]),
    ("slot show", &["Example:", "JSON:"]),
    ("slot acquire", &["--rev", "--holder", "--for", "Exit code 1", "Examples:", "JSON:"]),
    ("slot release", &["Example:", "JSON:"]),
    ("slot warm", &["--rev", "Examples:", "JSON:"]),
    ("slot repair", &["--rev", "Example:", "JSON:"]),
    ("slot isolate", &["--reason", "Example:", "JSON:"]),
    ("slot rm", &["Example:", "JSON:"]),
    ("rescue ls", &["JSON:"]),
    ("rescue restore", &["--branch", "--into", "Examples:", "JSON:"]),
    ("workspace ls", &["JSON:"]),
    ("workspace show", &["Example:", "JSON:"]),
    ("workspace rm", &["--force", "Examples:", "JSON:"]),
    ("gc", &["--older-than", "--keep-size", "--dry-run", "Examples:", "JSON:"]),
    ("doctor", &["--llm", "JSON:"]),
    ("init", &["--force"]),
    ("completions", &["bash"]),
];

#[test]
fn every_command_explains_itself() {
    let place = Place::new();
    let all = place.run("", &["--help"]).done();
    for (command, parts) in COMMANDS {
        let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let help = place.run("", &words).done();
        assert!(help.contains(&format!("Usage: necro-host {command}")), "{help}");
        for part in *parts {
            assert!(help.contains(part), "`{command} --help` does not name {part}: {help}");
        }
    }
    let listed = all.split("Commands:").nth(1).unwrap().split("\n\n").next().unwrap();
    for name in listed.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).filter(|n| !n.is_empty()) {
        let known = name == "help" || COMMANDS.iter().any(|(command, _)| command.split(' ').next() == Some(name));
        assert!(known, "this test does not know `{name}`");
    }
    assert!(all.contains("Exit codes: 0 done, 1 work failed"), "{all}");
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    let place = Place::new();
    place.run("", &[]).refused(2, &["Usage: necro-host"]);
    place.run("", &["rum"]).refused(2, &["rum", "run"]);
    place.run("", &["tasks", "--only", "open"]).refused(2, &["ready, running, blocked, done, failed, cancelled"]);
    place.run("", &["run", "x.md", "--max-parallel", "0"]).refused(2, &["--max-parallel"]);
    place.run("", &["--log", "necro_host=loud", "plugin", "ls"]).refused(2, &["is no log filter"]);
}

#[test]
fn completions_name_the_commands_in_every_shell() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.run("", &["completions", shell]).done();
        assert!(script.contains("necro-host") && script.contains("inspect"), "{shell}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = Place::new();
    let mut child =
        place.command("", &["completions", "zsh"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn init_writes_at_the_root_and_replaces_nothing_unasked() {
    let place = Place::new();
    place.repository("r", &[("src/lib.rs", "")]);
    let out = place.run("r/src", &["init"]).done();
    assert!(out.contains("r/necro.toml"), "{out}");
    let path = place.path("r/necro.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("#max_parallel = 4"), "{text}");
    fs::write(&path, "mine").unwrap();
    place.run("r", &["init"]).refused(2, &["necro.toml", "--force"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    place.run("r", &["init", "--force"]).done();
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    place.run("r", &["init", "--repo", "nowhere"]).refused(2, &["there is no folder `nowhere`"]);
}

#[test]
fn built_in_plugins_are_listed_and_each_can_be_inspected() {
    let place = Place::new();
    let list = place.run("", &["plugin", "ls", "--json"]).json();
    let list = list.as_array().unwrap();
    for kind in ["spirit", "routing", "scheduling", "review"] {
        assert!(list.iter().any(|plugin| plugin["kind"] == kind), "{kind}");
    }
    let table = place.run("", &["plugin", "ls"]).done();
    for plugin in list {
        let name = plugin["name"].as_str().unwrap();
        assert!(table.contains(plugin["digest"].as_str().unwrap()), "{table}");
        let named = format!("{}/{name}", plugin["kind"].as_str().unwrap());
        let inspected = place.run("", &["plugin", "inspect", &named, "--json"]).json();
        for field in ["name", "kind", "digest", "size_bytes"] {
            assert_eq!(inspected[field], plugin[field], "{named}");
        }
        assert!(inspected["limits"]["memory_bytes"].as_u64().unwrap() > 0, "{inspected}");
    }
    let spirit = place.run("", &["plugin", "inspect", "qa", "--json"]).json();
    assert_eq!(spirit["world"], "spirit");
    assert!(spirit["capabilities"].as_array().unwrap().contains(&"llm".into()), "{spirit}");
    assert_eq!(spirit["says"]["role"], "qa");
    let policy = place.run("", &["plugin", "inspect", "least-busy"]).done();
    assert!(policy.contains("routing (world routing-policy)") && policy.contains("guest_time_ms = "), "{policy}");
}

#[test]
fn what_is_no_plugin_is_said_to_be_something_else() {
    let place = Place::new();
    place.run("", &["plugin", "inspect", "nonsense"]).refused(2, &["no file `nonsense`", "routing/least-busy"]);
    place.run("", &["plugin", "inspect", "gone.wasm"]).refused(2, &["there is no plugin file", "gone.wasm`"]);
    place.write("text.wasm", "hello");
    place.run("", &["plugin", "inspect", "text.wasm"]).refused(2, &["plugin `text`", "not a WebAssembly component"]);
    place.write("core.wasm", [0, b'a', b's', b'm', 1, 0, 0, 0]);
    place.run("", &["plugin", "inspect", "core.wasm"]).refused(2, &["plugin `core`", "it is a core module"]);
    let large = fs::File::create(place.path("large.wasm")).unwrap();
    large.set_len((128 << 20) + 1).unwrap();
    place.run("", &["plugin", "inspect", "large.wasm"]).refused(2, &["large.wasm", "a component may have 134217728"]);
    let newer = guests::guest("next-contract");
    let newer = newer.to_str().unwrap();
    place.run("", &["plugin", "inspect", newer]).refused(2, &["needs necro:plugin@0.2, this host has 0.1"]);
    place.write("mine.wasm", guests::guest_bytes("last-candidate"));
    let inspected = place.run("", &["plugin", "inspect", "mine.wasm", "--json"]).json();
    assert_eq!(inspected["name"], "mine");
    assert_eq!(inspected["kind"], "routing");
}

#[test]
fn the_doctor_says_what_is_missing_and_never_a_key() {
    let place = Place::new();
    place.repository(
        "r",
        &[("necro.toml", "[gate]\ncommands = [\"test\"]\n[commands.test]\nrun = [\"no-such-program\"]\n")],
    );
    let before = place.fingerprint("r");
    let key = "sk-proj-notarealkey0123456789";
    let ended = place.run_with("r", &["doctor", "--base-url", "http://127.0.0.1:9/v1"], &[("OPENAI_API_KEY", key)]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let line = |start: &str| ended.out.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_owned();
    assert!(line("ok    git").contains('2'), "{ended:?}");
    assert!(line("ok    key").contains("OPENAI_API_KEY is set"), "{ended:?}");
    assert!(line("fail  model").contains("127.0.0.1:9"), "{ended:?}");
    assert!(line("fail  gate").contains("`no-such-program` was not found"), "{ended:?}");
    // Where the kernel cannot keep commands in, it says so.
    let sandbox = format!("{}{}{}", line("ok    sandbox"), line("warn  sandbox"), line("fail  sandbox"));
    assert!(sandbox.contains("on: Landlock") || sandbox.contains("cannot be kept in"), "{ended:?}");
    assert!(!ended.out.contains(key) && !ended.err.contains(key), "{ended:?}");
    assert_eq!(place.fingerprint("r"), before);

    let ended = place.run("r", &["doctor"]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.out.contains("OPENAI_API_KEY") && ended.out.contains("--llm"), "{ended:?}");
}

#[test]
fn the_doctor_is_content_with_a_gate_that_is_there_and_a_script() {
    let place = Place::new();
    place.repository(
        "r",
        &[("necro.toml", "[gate]\ncommands = [\"test\"]\n[commands.test]\nrun = [\"git\", \"status\"]\n")],
    );
    place.write("replies.toml", "version = 1\n");
    let found = place.run("r", &["doctor", "--llm", "scripted:../replies.toml", "--json"]).json();
    let state = |name: &str| {
        let found = found.as_array().unwrap().iter().find(|found| found["name"] == name);
        found.unwrap_or_else(|| panic!("{name} was not looked at: {found:?}"))["state"].as_str().unwrap().to_owned()
    };
    for name in ["git", "repository", "settings", "model", "gate", "engine", "state"] {
        assert_eq!(state(name), "ok", "{name}: {found}");
    }
}

#[test]
fn colours_are_for_terminals_and_for_those_who_ask() {
    let place = Place::new();
    assert!(!place.run("", &["plugin", "ls"]).done().contains('\u{1b}'));
    assert!(place.run("", &["plugin", "ls", "--color", "always"]).done().contains('\u{1b}'));
}
