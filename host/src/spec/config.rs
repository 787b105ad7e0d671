//! The small JSON files beside a spec: Kiro's `.config.kiro` and cc-sdd's `spec.json`. They are read,
//! never written.

use serde::{Deserialize, Serialize};
use serde_json::Value;

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
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).map(str::to_owned)
}

/// Reads `.config.kiro`. `None`: no JSON object.
#[must_use]
pub fn read_kiro(bytes: &[u8]) -> Option<KiroConfig> {
    let value: Value = serde_json::from_slice(without_bom(bytes)).ok().filter(Value::is_object)?;
    let one_of = |key: &str, allowed: &[&str]| text(&value, key).filter(|v| allowed.contains(&v.as_str()));
    let workflows = ["requirements-first", "design-first", "fast-task", "verify-first"];
    Some(KiroConfig {
        spec_id: text(&value, "specId"),
        workflow_type: one_of("workflowType", &workflows).or_else(|| one_of("generationMode", &workflows)),
        spec_type: one_of("specType", &["feature", "bugfix", "quick-spec"]),
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
    })
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
    fn cc_sdd_tells_its_language() {
        let read =
            read_cc_sdd(br#"{"language":"ja","phase":"tasks-generated","ready_for_implementation":true}"#).unwrap();
        assert_eq!(read.language.as_deref(), Some("ja"));
        assert_eq!(read.ready_for_implementation, Some(true));
    }
}
