//! The small JSON files beside a spec: Kiro's `.config.kiro` and cc-sdd's `spec.json`. They are read,
//! never written.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::diagnostic::{Diagnostic, Severity};

const WORKFLOWS: &[&str] = &["requirements-first", "design-first", "fast-task", "verify-first"];
const SPEC_TYPES: &[&str] = &["feature", "bugfix", "quick-spec"];

/// What `.config.kiro` says. Unknown values count as absent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KiroConfig {
    /// A UUID, not checked.
    pub spec_id: Option<String>,
    /// requirements-first, design-first, fast-task or verify-first.
    pub workflow_type: Option<String>,
    /// feature, bugfix or quick-spec.
    pub spec_type: Option<String>,
}

/// What cc-sdd's `spec.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CcSdd {
    /// Such as `ja`.
    pub language: Option<String>,
    /// Such as `tasks-generated`.
    pub phase: Option<String>,
    /// Absent: not said.
    pub ready_for_implementation: Option<bool>,
    /// Which documents a person has approved.
    #[serde(default)]
    pub approved: Approved,
}

/// What cc-sdd's `approvals` say of each document; absent: nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Approved {
    /// requirements.md
    pub requirements: Option<bool>,
    /// design.md
    pub design: Option<bool>,
    /// tasks.md
    pub tasks: Option<bool>,
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).map(str::to_owned)
}

/// Reads `.config.kiro`. `None`: no JSON object.
#[must_use]
pub fn read_kiro(bytes: &[u8]) -> Option<KiroConfig> {
    let value: Value = serde_json::from_slice(without_bom(bytes)).ok().filter(Value::is_object)?;
    let one_of = |key: &str, allowed: &[&str]| text(&value, key).filter(|v| allowed.contains(&v.as_str()));
    Some(KiroConfig {
        spec_id: text(&value, "specId"),
        workflow_type: one_of("workflowType", WORKFLOWS).or_else(|| one_of("generationMode", WORKFLOWS)),
        spec_type: one_of("specType", SPEC_TYPES),
    })
}

/// Reads `spec.json`. `None`: no JSON object.
#[must_use]
pub fn read_cc_sdd(bytes: &[u8]) -> Option<CcSdd> {
    let value: Value = serde_json::from_slice(without_bom(bytes)).ok().filter(Value::is_object)?;
    Some(CcSdd {
        language: text(&value, "language"),
        phase: text(&value, "phase"),
        ready_for_implementation: value.get("ready_for_implementation").and_then(Value::as_bool),
        approved: Approved {
            requirements: approved(&value, "requirements"),
            design: approved(&value, "design"),
            tasks: approved(&value, "tasks"),
        },
    })
}

fn approved(value: &Value, document: &str) -> Option<bool> {
    value.get("approvals")?.get(document)?.get("approved")?.as_bool()
}

/// What is wrong with the bytes of `.config.kiro`.
#[must_use]
pub fn check_kiro(bytes: &[u8]) -> Vec<Diagnostic> {
    let value = match object(bytes) {
        Ok(value) => value,
        Err(found) => return vec![found],
    };
    let mut found = Vec::new();
    for (key, allowed) in [("specType", SPEC_TYPES), ("workflowType", WORKFLOWS), ("generationMode", WORKFLOWS)] {
        let Some(value) = value.get(key).filter(|value| !value.as_str().is_some_and(|v| allowed.contains(&v))) else {
            continue;
        };
        let message = format!("`{key}` is {value:.60}, not one of {}; it is not used", allowed.join(", "));
        found.push(Diagnostic::new(Severity::Warning, 1, "config/unknown-value", message));
    }
    if value.get("specId").is_some_and(|id| !id.is_string()) {
        found.push(Diagnostic::new(
            Severity::Warning,
            1,
            "config/unknown-value",
            "`specId` is no text; it is not used",
        ));
    }
    found
}

/// What is wrong with the bytes of `spec.json`, and what they say against running its tasks.
#[must_use]
pub fn check_cc_sdd(bytes: &[u8]) -> Vec<Diagnostic> {
    let value = match object(bytes) {
        Ok(value) => value,
        Err(found) => return vec![found],
    };
    let mut found = Vec::new();
    for document in ["requirements", "design", "tasks"] {
        if approved(&value, document) == Some(false) {
            let message = format!("{document}.md is not approved by a person yet");
            found.push(Diagnostic::new(Severity::Note, 1, "config/not-approved", message));
        }
    }
    found
}

fn object(bytes: &[u8]) -> Result<Value, Diagnostic> {
    let wrong = |line: usize, why: String| {
        let line = u32::try_from(line).unwrap_or(u32::MAX);
        Diagnostic::new(Severity::Warning, line, "config/json", format!("the file is not used: {why}"))
    };
    match serde_json::from_slice::<Value>(without_bom(bytes)) {
        Ok(value) if value.is_object() => Ok(value),
        Ok(_) => Err(wrong(1, "it is no JSON object".to_owned())),
        Err(error) => Err(wrong(error.line(), format!("it is not JSON: {error}"))),
    }
}

fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_field_with_an_unknown_value_is_dropped() {
        let config = read_kiro(br#"{"specId":"x","workflowType":"odd","specType":"bugfix","more":1}"#).unwrap();
        assert_eq!(
            config,
            KiroConfig { spec_id: Some("x".into()), workflow_type: None, spec_type: Some("bugfix".into()) }
        );
        let old = read_kiro(br#"{"generationMode": "requirements-first"}"#).unwrap();
        assert_eq!(old.workflow_type.as_deref(), Some("requirements-first"));
        assert_eq!(read_kiro(b""), None);
        assert_eq!(read_kiro(b"[1]"), None);
    }

    #[test]
    fn what_cannot_be_used_is_said_with_its_line() {
        let said =
            |found: Vec<Diagnostic>| -> Vec<(u32, String)> { found.into_iter().map(|d| (d.line, d.code)).collect() };
        for (bytes, expected) in [
            (&br#"{"specId":"x","workflowType":"fast-task","specType":"quick-spec","more":1}"#[..], &[][..]),
            (b"\xEF\xBB\xBF{}\n", &[]),
            (b"", &[(1, "config/json")]),
            (b"{\n\"specId\": x", &[(2, "config/json")]),
            (b"[]", &[(1, "config/json")]),
            (br#"{"specType":"odd","workflowType":7}"#, &[(1, "config/unknown-value"), (1, "config/unknown-value")]),
            (br#"{"specId":7}"#, &[(1, "config/unknown-value")]),
            (br#"{"generationMode":"x"}"#, &[(1, "config/unknown-value")]),
        ] {
            let found = said(check_kiro(bytes));
            let found: Vec<(u32, &str)> = found.iter().map(|(line, code)| (*line, code.as_str())).collect();
            assert_eq!(found, expected, "{}", String::from_utf8_lossy(bytes));
        }
        let sdd = br#"{"approvals":{"requirements":{"generated":true,"approved":true},"tasks":{"approved":false}}}"#;
        assert_eq!(said(check_cc_sdd(sdd)), [(1, "config/not-approved".to_owned())]);
        assert_eq!(said(check_cc_sdd(b"{")), [(1, "config/json".to_owned())]);
    }

    #[test]
    fn cc_sdd_tells_its_language_and_what_was_approved() {
        let read = read_cc_sdd(
            br#"{"language":"ja","phase":"tasks-generated","approvals":{"design":{"generated":true,"approved":true},
                "tasks":{"generated":true,"approved":false}},"ready_for_implementation":true}"#,
        )
        .unwrap();
        assert_eq!((read.language.as_deref(), read.phase.as_deref()), (Some("ja"), Some("tasks-generated")));
        assert_eq!(read.ready_for_implementation, Some(true));
        assert_eq!(read.approved, Approved { requirements: None, design: Some(true), tasks: Some(false) });
        assert_eq!(read_cc_sdd(br#"{"approvals":[]}"#).unwrap(), CcSdd::default());
    }
}
