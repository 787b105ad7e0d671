//! Manifests as authors write them, right and wrong, and settings against their schema.

use serde_json::{Value, json};

use super::*;

const WHOLE: &str = r#"
[plugin]
name = "llm-critic"
version = "0.1.0"
kind = "review"
description = "Asks a model"

[wants.llm]
why = "asks a model about the change"
models = ["fast"]
max_tokens = 50000

[wants.workspace]
why = "reads whole files"
optional = true
read = ["src/**"]

[limits]
memory_bytes = 134217728

[settings.max_points]
type = "integer"
default = 5
min = 0
max = 100

[settings.tone]
type = "string"
one_of = ["mild", "harsh"]

[settings.share]
type = "number"
max = 1.0

[settings.endings]
type = "strings"
default = ["rs"]
max = 2

[settings.on]
type = "boolean"
required = true
"#;

#[test]
fn a_whole_manifest_is_read() {
    let manifest = Manifest::parse(WHOLE).unwrap();
    assert_eq!((manifest.name.as_str(), manifest.kind), ("llm-critic", PluginKind::Review));
    assert_eq!(manifest.wants[&Interface::Llm].scope.max_tokens, Some(50_000));
    assert!(manifest.wants[&Interface::Workspace].optional);
    assert_eq!(manifest.limits.memory_bytes, Some(134_217_728));
    assert_eq!(manifest.asks()[&Interface::Workspace].read.as_deref(), Some(&["src/**".to_owned()][..]));
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let head = "[plugin]\nname = 'a'\nversion = '1.0.0'\nkind = 'routing'\n";
    let cases = [
        ("", "plugin.toml:1: missing field `plugin`"),
        ("[plugin]\nname = 'A'\nversion = '1.0.0'\nkind = 'routing'", "plugin.toml:2: `A` is no plugin name"),
        ("[plugin]\nname = 'a'\nversion = '1'\nkind = 'routing'", "plugin.toml:3: `1` is no version"),
        ("[plugin]\nname = 'a'\nversion = '1.0.0'\nkind = 'router'", "plugin.toml:4: `router` is no kind"),
        (
            "{head}[wants.llm]\nwhy = 'x'",
            "plugin.toml:5: wants.llm: a routing plugin cannot have it; it may want nothing",
        ),
        ("{head}[wants.files]\nwhy = 'x'", "unknown variant `files`"),
        ("{head}[wish]\n", "plugin.toml:5: unknown field `wish`"),
        ("{head}[limits]\nfule = 1", "unknown field `fule`"),
        ("{head}[limits]\nfuel = 0", "0 is not between"),
        ("{head}[settings.a]\ntype = 'text'", "unknown variant `text`"),
        ("{head}[settings.a]\ntype = 'integer'\nmin = 3\ndefault = 1", "settings.a: its default is 1, less than 3"),
        ("{head}[settings.a]\ntype = 'boolean'\nmin = 3", "true and false have no bounds"),
        ("{head}[settings.a]\ntype = 'integer'\none_of = ['a']", "`one_of` is for texts"),
        ("{head}[settings.a]\ntype = 'integer'\nrequired = true\ndefault = 1", "need not be set"),
    ];
    for (text, expected) in cases {
        let text = text.replace("{head}", head);
        let error = Manifest::parse(&text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}\n→ {error}");
    }
}

#[test]
fn a_wish_says_why_and_stays_within_its_interface() {
    let with = |wish: &str| {
        Manifest::parse(&format!("[plugin]\nname = 'a'\nversion = '1.0.0'\nkind = 'spirit'\n[wants.lock]\n{wish}"))
    };
    assert!(with("why = 'one at a time'\nprefixes = ['a/']").is_ok());
    for (wish, expected) in [
        ("", "missing field `why`"),
        ("why = ' '", "`why` is empty"),
        ("why = \"a\\nb\"", "control characters"),
        ("why = 'x'\nread = ['a']", "`read` is no bound of lock"),
        ("why = 'x'\nprefix = ['a']", "unknown field `prefix`"),
    ] {
        let error = with(wish).unwrap_err().to_string();
        assert!(error.contains(expected), "{wish} → {error}");
    }
}

#[test]
fn settings_are_checked_and_defaults_filled_in() {
    let manifest = Manifest::parse(WHOLE).unwrap();
    let given = |value: Value| manifest.settings(value.as_object().unwrap());
    assert_eq!(
        given(json!({ "on": true, "tone": "mild" })).map(Value::Object),
        Ok(json!({ "on": true, "tone": "mild", "max_points": 5, "endings": ["rs"] }))
    );
    for (wrong, expected) in [
        (json!({}), "`on` has to be set: true or false"),
        (json!({ "on": 1 }), "`on` is 1, but true or false is wanted"),
        (json!({ "on": true, "max_points": 101 }), "`max_points` is 101, more than 100"),
        (json!({ "on": true, "max_points": 1.5 }), "`max_points` is 1.5, but a whole number is wanted"),
        (json!({ "on": true, "tone": "loud" }), "`tone` is `loud`, but it is one of: mild, harsh"),
        (json!({ "on": true, "share": 1.5 }), "`share` is 1.5, more than 1"),
        (json!({ "on": true, "endings": ["a", "b", "c"] }), "`endings` is 3 entries, more than 2"),
        (json!({ "on": true, "endings": [1] }), "a list of texts is wanted"),
        (json!({ "on": true, "max_point": 1 }), "there is no `max_point`; there are: endings, max_points"),
    ] {
        let problems = given(wrong.clone()).unwrap_err();
        assert!(problems.len() == 1 && problems[0].contains(expected), "{wrong} → {problems:?}");
    }
    let none = Manifest::parse("[plugin]\nname = 'a'\nversion = '1.0.0'\nkind = 'routing'").unwrap();
    assert_eq!(none.settings(&serde_json::Map::new()), Ok(serde_json::Map::new()));
    assert!(none.settings(json!({ "x": 1 }).as_object().unwrap()).is_err());
}
