//! Projects of the tests: made, built and tested with the author's own tools, whose results are shared.

use std::fs::File;
use std::path::Path;

use serde_json::Value;

use crate::place::{Ended, Place};

/// Libraries that every project needs are built once for all tests.
pub(crate) fn target() -> String {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("author").display().to_string()
}

/// Projects of the same layout have the same file names there: one at a time, whatever process it is in.
pub(crate) fn alone() -> File {
    std::fs::create_dir_all(target()).unwrap();
    let lock = File::create(Path::new(&target()).join("alone.lock")).unwrap();
    lock.lock().unwrap();
    lock
}

/// Runs the binary with the author's environment: home, cargo and PATH, to which componentize-py is added.
pub(crate) fn author(place: &Place, cwd: &str, args: &[&str]) -> Ended {
    let own = Path::new(env!("CARGO_TARGET_TMPDIR")).join("componentize-py/bin");
    let path = format!("{}:{}", own.display(), std::env::var("PATH").unwrap_or_default());
    let (target, mut variables) = (target(), vec![("PATH", path)]);
    variables.push(("CARGO_TARGET_DIR", target));
    variables.push(("NECRO_HOST", env!("CARGO_BIN_EXE_necro-host").to_owned()));
    for name in ["HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "CARGO_NET_OFFLINE", "CARGO_BUILD_JOBS"] {
        if let Ok(value) = std::env::var(name) {
            variables.push((name, value));
        }
    }
    let _alone = alone();
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    place.run_with(cwd, args, &variables)
}

/// A project from the template, in a folder of its name.
pub(crate) fn project(place: &Place, kind: &str, lang: &str, name: &str) -> Value {
    place.run("", &["plugin", "new", "--kind", kind, "--lang", lang, name, "--json"]).json()
}

/// Whether componentize-py is there; says so when it is not.
pub(crate) fn has_componentize(test: &str) -> bool {
    let place = Place::new();
    project(&place, "routing", "python", "probe");
    let found = author(&place, "", &["plugin", "build", "probe"]);
    if found.code == Some(3) {
        eprintln!("SKIPPED {test}: componentize-py is not installed; `.ci/run` installs it from PyPI");
        return false;
    }
    true
}
