//! Recorded decisions: `necro-host run --record-fixtures DIR` writes them, and the component of now is given what
//! was given then, every answer of the host included.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::host;
use super::outcome::{Call, calls};

/// A recorded decision.
#[derive(Debug, Clone)]
pub struct Fixture {
    path: PathBuf,
    recorded: Value,
}

/// What the component of now does with it.
#[derive(Debug, Clone)]
pub struct Replayed {
    /// Whether calls and end are the same as recorded.
    pub same: bool,
    /// How it ends now: `{"ok": result}` or `{"error": name, "message": words}`.
    pub outcome: Value,
    /// How it ended then.
    pub recorded: Value,
    /// Recorded calls that it made again, in order.
    pub calls: Vec<Call>,
    /// Where it leaves the record; null when it does not.
    pub difference: Value,
    /// Why it could not be compared to its end; absent when it was.
    pub reason: Option<String>,
}

impl Fixture {
    /// Reads a fixture; a relative path is one from the folder of the crate under test.
    ///
    /// # Panics
    /// When it cannot be read.
    #[track_caller]
    #[must_use]
    pub fn load(path: impl AsRef<Path>) -> Self {
        let root = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
        let path = root.join(path);
        let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let recorded = serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path, recorded }
    }

    /// What the component was given.
    #[must_use]
    pub fn input(&self) -> &Value {
        &self.recorded["input"]
    }

    /// How it ended: `{"ok": result}` or `{"error": name, "message": words}`.
    #[must_use]
    pub fn outcome(&self) -> &Value {
        &self.recorded["outcome"]
    }

    /// Gives it to the component of the crate under test.
    #[track_caller]
    pub fn replay(&self) -> Replayed {
        self.replay_with(host::component())
    }

    /// Gives it to another component.
    #[track_caller]
    pub fn replay_with(&self, component: impl AsRef<Path>) -> Replayed {
        let answer = host::replay(component.as_ref(), &self.path);
        Replayed {
            same: answer["same"] == true,
            outcome: answer["outcome"].clone(),
            recorded: answer["recorded"].clone(),
            calls: calls(&answer),
            difference: answer["difference"].clone(),
            reason: answer["reason"].as_str().map(str::to_owned),
        }
    }
}

impl Replayed {
    /// Calls and end are the same as recorded.
    #[track_caller]
    pub fn assert_same(&self) {
        let why = self.reason.as_deref().unwrap_or_default();
        assert!(
            self.same,
            "it decides otherwise {why}\nthen: {}\nnow: {}\n{}",
            self.recorded, self.outcome, self.difference
        );
    }
}
