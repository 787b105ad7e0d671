//! The host as a program: where it is, what it builds, what it answers.

use std::env;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// The component of the crate under test; built once in a process, unless `plugin test` has done so.
#[track_caller]
pub(super) fn component() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            if let Some(component) = env::var_os("NECRO_COMPONENT").filter(|path| !path.is_empty()) {
                return component.into();
            }
            let project = env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where the crate is: run `cargo test`");
            let built = answered(&["plugin".into(), "build".into(), project, "--json".into()], b"", &[0]);
            built["component"].as_str().expect("the host names the component").into()
        })
        .clone()
}

/// What the component asks for, as a grant of all of it.
#[track_caller]
pub(super) fn asks(component: &Path) -> Value {
    let arguments = ["plugin".into(), "check".into(), component.into(), "--json".into()];
    let checked = answered(&arguments, b"", &[0, 1]);
    let asks = checked["asks"].as_object().into_iter().flatten();
    asks.map(|(interface, ask)| (interface.clone(), ask["scope"].clone())).collect()
}

/// Runs one call.
#[track_caller]
pub(super) fn exec(component: &Path, request: &Value) -> Value {
    answered(&["plugin".into(), "exec".into(), component.into()], request.to_string().as_bytes(), &[0])
}

/// Replays a recorded decision.
#[track_caller]
pub(super) fn replay(component: &Path, fixture: &Path) -> Value {
    answered(&["plugin".into(), "exec".into(), component.into(), "--fixture".into(), fixture.into()], b"", &[0, 1])
}

#[track_caller]
fn answered(arguments: &[OsString], input: &[u8], codes: &[i32]) -> Value {
    let output = run(arguments, input);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_some_and(|code| codes.contains(&code)), "the host refuses this:\n{words}");
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("the host's answer is no JSON: {error}\n{words}"))
}

#[track_caller]
#[expect(clippy::disallowed_methods, reason = "the harness is a client of the program `necro-host`")]
fn run(arguments: &[OsString], input: &[u8]) -> Output {
    let program = env::var_os("NECRO_HOST").filter(|path| !path.is_empty()).unwrap_or_else(|| "necro-host".into());
    let mut command = Command::new(&program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| {
        panic!(
            "the host `{}` does not start ({error}): run `necro-host plugin test`, put necro-host on the PATH, or set \
             NECRO_HOST to it",
            program.to_string_lossy()
        )
    });
    // A host that refuses the command line reads no request.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input));
    child.wait_with_output().expect("a child that was started can be waited for")
}
