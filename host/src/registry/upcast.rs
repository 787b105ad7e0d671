//! Event bodies of earlier versions, brought to the present one step by step when they are read. The log
//! itself is never rewritten: what was acknowledged stays as it was.

use serde_json::{Value, json};

use crate::domain::event::{BODY_VERSION, Body};

use super::error::RegistryError;

/// Brings a body from a version to the next.
type Step = fn(&mut Value);

/// The steps from version 1 on; the one at index 0 leads from 1 to 2.
const STEPS: [Step; BODY_VERSION as usize - 1] = [from_1];

/// The body that stands in event `sequence` as `version`.
pub(super) fn body(version: u32, mut found: Value, sequence: u64) -> Result<Body, RegistryError> {
    let damaged = |reason: String| RegistryError::Damaged(format!("event {sequence}: {reason}"));
    let first = version.checked_sub(1).and_then(|first| STEPS.get(first as usize..));
    // A version that is ahead of this program comes with a newer schema, which is refused before.
    let steps = first.ok_or_else(|| damaged(format!("its body has version {version}, which never was")))?;
    for step in steps {
        step(&mut found);
    }
    serde_json::from_value(found).map_err(|error| damaged(error.to_string()))
}

/// Version 2 gave tasks metadata, and asks for what version 1 let be absent.
fn from_1(body: &mut Value) {
    let event = body["event"].as_str().unwrap_or_default().to_owned();
    let details = &mut body["details"];
    match event.as_str() {
        "TaskCreated" => absent(&mut details["facts"], "metadata", json!({})),
        "TaskUpdated" if details["change"]["action"] == "definition_changed" => {
            absent(&mut details["change"]["facts"], "metadata", json!({}));
        }
        "RunnerFinished" => absent(details, "more_files", json!(0)),
        _ => {}
    }
}

/// Gives an object `key`, unless it has one.
fn absent(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.entry(key).or_insert(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_body_of_version_1_becomes_one_of_today() {
        let facts = json!({"title": "a", "text": "", "optional": false, "depends": [], "skill": null,
                           "requirements": [], "priority": 3, "container": false});
        let cost = serde_json::to_value(crate::domain::call::Cost::default()).unwrap();
        for old in [
            json!({"event": "TaskCreated", "details": {"facts": facts, "state": "ready"}}),
            json!({"event": "TaskUpdated", "details": {"change": {"action": "definition_changed", "facts": facts}}}),
            json!({"event": "RunnerFinished", "details": {"runner": "r", "outcome": "success", "reason": null,
                   "summary": null, "commit": null, "files": [], "cost": cost, "duration_ms": 1}}),
            json!({"event": "TaskFailed", "details": {"reason": "x"}}),
        ] {
            assert!(serde_json::from_value::<Body>(old.clone()).is_err() || old["event"] == "TaskFailed", "{old}");
            let body = body(1, old.clone(), 7).unwrap();
            assert_eq!(body.name(), old["event"]);
        }
    }

    #[test]
    fn versions_that_never_were_are_damage() {
        for version in [0, BODY_VERSION + 1, u32::MAX] {
            let error = body(version, json!({"event": "TaskFailed", "details": {"reason": "x"}}), 7).unwrap_err();
            assert!(matches!(&error, RegistryError::Damaged(why) if why.contains("event 7")), "{error}");
        }
    }
}
