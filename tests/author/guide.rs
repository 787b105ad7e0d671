//! The guide of the SDK: its commands, as they stand there, in one folder after the other.

use std::process::Stdio;

use crate::place::Place;
use crate::project::{alone, has_componentize, own_tools, target};

/// The fenced blocks of the guide that begin with this word, joined.
fn commands(language: &str) -> String {
    let guide = include_str!("../../sdk/README.md");
    let blocks = guide.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mark = format!("# {language}");
    blocks.filter(|block| block.starts_with(&mark)).collect::<Vec<_>>().join("\n")
}

/// Plays commands in a shell that stops at the first that fails.
#[expect(clippy::disallowed_methods, reason = "the test plays a person at a shell")]
fn play(script: &str) -> String {
    let place = Place::new();
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_necro-host"));
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{}:{path}", binary.parent().unwrap().display(), own_tools().display());
    let mut shell = std::process::Command::new("sh");
    shell.args(["-e", "-x", "-c", script]).current_dir(place.path("")).stdin(Stdio::null()).env("PATH", path);
    let _alone = alone();
    shell.env("CARGO_TARGET_DIR", target());
    shell.env("NECRO_CACHE", std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("necro-cache"));
    shell.env_remove("NECRO_HOST").env_remove("NECRO_STATE");
    let output = shell.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    text
}

#[test]
fn the_commands_of_the_guide_lead_to_a_running_policy_in_rust() {
    let script = commands("Rust");
    assert!(
        script.contains("plugin new") && script.contains("plugin test") && script.contains("run --demo"),
        "{script}"
    );
    let said = play(&script);
    assert!(said.contains("2 passed") && said.contains("it has waited longest for work"), "{said}");
}

#[test]
fn the_commands_of_the_guide_lead_to_a_running_policy_in_python() {
    if !has_componentize("the_commands_of_the_guide_lead_to_a_running_policy_in_python") {
        return;
    }
    // The tests have a componentize-py of their own.
    let script: Vec<String> =
        commands("Python").lines().filter(|line| !line.contains("-m venv")).map(str::to_owned).collect();
    let script = script.join("\n");
    assert!(script.contains("--lang python") && script.contains("run --demo"), "{script}");
    let said = play(&script);
    assert!(said.contains("Ran 2 tests") && said.contains("it has waited longest for work"), "{said}");
}
