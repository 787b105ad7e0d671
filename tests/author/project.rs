//! Projects of the tests: made, built and tested with the author's own tools, whose results are shared.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::place::{Ended, Place};

/// Libraries that every project needs are built once for all tests.
pub(crate) fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("author")
}

/// Where `.ci/run` puts componentize-py.
pub(crate) fn own_tools() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("componentize-py/bin")
}

/// Projects of the same layout have the same file names there: one at a time, whatever process it is in.
pub(crate) fn alone() -> File {
    std::fs::create_dir_all(target()).unwrap();
    let lock = File::create(target().join("alone.lock")).unwrap();
    lock.lock().unwrap();
    lock
}

/// The binary with the author's environment: home, cargo and PATH, to which componentize-py is added.
pub(crate) fn command(place: &Place, cwd: &str, args: &[&str]) -> Command {
    let mut command = place.command(cwd, args);
    let path = format!("{}:{}", own_tools().display(), std::env::var("PATH").unwrap_or_default());
    command.env("PATH", path).env("CARGO_TARGET_DIR", target());
    for name in ["HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "CARGO_NET_OFFLINE", "CARGO_BUILD_JOBS"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// Runs it to its end.
pub(crate) fn author(place: &Place, cwd: &str, args: &[&str]) -> Ended {
    let _alone = alone();
    place.end(&mut command(place, cwd, args))
}

/// A project from the template, in a folder of its name.
pub(crate) fn project(place: &Place, kind: &str, lang: &str, name: &str) -> Value {
    place.run("", &["plugin", "new", "--kind", kind, "--lang", lang, name, "--json"]).json()
}

/// Whether componentize-py is there; says so when it is not.
#[expect(clippy::disallowed_methods, reason = "the test asks a compiler for its version")]
pub(crate) fn has_componentize(test: &str) -> bool {
    let programs = [own_tools().join("componentize-py"), PathBuf::from("componentize-py")];
    let found = programs
        .iter()
        .any(|program| Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success()));
    if !found {
        eprintln!("SKIPPED {test}: componentize-py is not installed; `.ci/run` installs it from PyPI");
    }
    found
}
