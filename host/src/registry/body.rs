//! JSON as the journal keeps it: a canonical encoding for digests, and a form in which large parts
//! stand once, by their digest, however often they are sent.
//!
//! The form is JSON in which a part may be replaced by `{"$body": digest}` (the part's own form is
//! stored under the digest) or `{"$list": digest}` (an array; see [`ListItem`]). A key of the value
//! itself that begins with `$` gets another `$` in front. A conversation that grows by a message is
//! a list that grows by an item, so that its journal grows with the messages and not with their square.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::domain::call::CallRequest;
use crate::domain::id::Digest;
use crate::store::{digest_of, hex};

use super::error::RegistryError;

/// Parts up to this many bytes of JSON stay where they are.
const INLINE_BYTES: usize = 1024;
/// Deepest nesting of arrays and objects.
const MAX_DEPTH: usize = 100;

/// JSON with sorted keys and no white space: numbers as `serde_json` writes them (integers in full,
/// floats shortest), strings with the escapes that JSON demands and no others, keys by their bytes.
#[must_use]
pub fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write_canonical(value, &mut out);
    out
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push('{');
            for (i, (key, item)) in sorted(map).into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write_canonical(item, out);
            }
            out.push('}');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

/// Sorted whatever order the map keeps: a dependency may switch `preserve_order` on.
fn sorted(map: &Map<String, Value>) -> BTreeMap<&String, &Value> {
    map.iter().collect()
}

/// SHA-256 of the [`canonical`] encoding of `[function name, arguments]`.
#[must_use]
pub fn request_digest(call: &CallRequest) -> Digest {
    let mut text = String::from("[");
    write_canonical(&Value::from(call.function.name()), &mut text);
    text.push(',');
    write_canonical(&call.arguments, &mut text);
    text.push(']');
    digest_of(text.as_bytes())
}

/// One item of a list, together with all before it: its digest is SHA-256 of the digest before it
/// (nothing for the first), a line feed, and the item's form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListItem {
    pub(super) digest: Digest,
    pub(super) previous: Option<Digest>,
    pub(super) item: String,
}

impl ListItem {
    pub(super) fn new(previous: Option<Digest>, item: String) -> Self {
        let mut hash = Sha256::new();
        hash.update(previous.as_ref().map_or("", Digest::as_str));
        hash.update("\n");
        hash.update(&item);
        let digest = Digest::new(hex(&hash.finalize())).expect("64 lower-case hexadecimal digits are a digest");
        Self { digest, previous, item }
    }
}

/// A value taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Parts {
    /// Forms of large parts, each before those that name it.
    pub(super) bodies: Vec<(Digest, String)>,
    /// Items of long arrays, in order.
    pub(super) lists: Vec<ListItem>,
}

impl Parts {
    /// Bytes of all parts.
    pub(super) fn size_bytes(&self) -> usize {
        let bodies: usize = self.bodies.iter().map(|(_, form)| form.len()).sum();
        bodies + self.lists.iter().map(|node| node.item.len()).sum::<usize>()
    }

    /// Takes `value` apart and gives its form.
    pub(super) fn take(&mut self, value: &Value) -> Result<String, RegistryError> {
        self.form(value, MAX_DEPTH)
    }

    fn form(&mut self, value: &Value, depth: usize) -> Result<String, RegistryError> {
        let Some(depth) = depth.checked_sub(1) else {
            let limit = MAX_DEPTH as u64;
            return Err(RegistryError::TooLarge { what: "a value", found: limit + 1, limit, unit: "levels" });
        };
        match value {
            Value::Array(items) => {
                let forms: Vec<String> =
                    items.iter().map(|item| self.form(item, depth)).collect::<Result<_, RegistryError>>()?;
                Ok(self.array(forms))
            }
            Value::Object(map) => {
                let mut fields = Vec::with_capacity(map.len());
                for (key, item) in sorted(map) {
                    let mark = if key.starts_with('$') { "$" } else { "" };
                    fields.push(format!("{}:{}", Value::from(format!("{mark}{key}")), self.form(item, depth)?));
                }
                Ok(self.body(format!("{{{}}}", fields.join(","))))
            }
            scalar => Ok(self.body(scalar.to_string())),
        }
    }

    fn body(&mut self, form: String) -> String {
        if form.len() <= INLINE_BYTES {
            return form;
        }
        let digest = digest_of(form.as_bytes());
        let reference = format!("{{\"$body\":\"{digest}\"}}");
        self.bodies.push((digest, form));
        reference
    }

    fn array(&mut self, forms: Vec<String>) -> String {
        let size: usize = forms.iter().map(|form| form.len() + 1).sum();
        if size <= INLINE_BYTES {
            return format!("[{}]", forms.join(","));
        }
        let mut last = None;
        for form in forms {
            let node = ListItem::new(last, form);
            last = Some(node.digest.clone());
            self.lists.push(node);
        }
        last.map_or_else(|| "[]".to_owned(), |digest| format!("{{\"$list\":\"{digest}\"}}"))
    }
}

/// Where parts are read from.
pub(super) trait PartSource {
    /// The form under `digest`, verified.
    fn body(&self, digest: &Digest) -> Result<String, RegistryError>;
    /// Forms of a list's items up to `digest`, in order, verified.
    fn list(&self, digest: &Digest) -> Result<Vec<String>, RegistryError>;
}

/// Puts a value together again from its form.
pub(super) fn restore(form: &str, source: &impl PartSource) -> Result<Value, RegistryError> {
    restore_within(form, source, MAX_DEPTH)
}

fn restore_within(form: &str, source: &impl PartSource, depth: usize) -> Result<Value, RegistryError> {
    let value = serde_json::from_str(form).map_err(|e| RegistryError::Damaged(format!("a journal entry: {e}")))?;
    resolve(value, source, depth)
}

fn resolve(value: Value, source: &impl PartSource, depth: usize) -> Result<Value, RegistryError> {
    let depth =
        depth.checked_sub(1).ok_or_else(|| RegistryError::Damaged("a journal entry is nested too deep".to_owned()))?;
    match value {
        Value::Array(items) => items.into_iter().map(|item| resolve(item, source, depth)).collect(),
        Value::Object(map) => {
            if let Some(digest) = reference(&map, "$body")? {
                return restore_within(&source.body(&digest)?, source, depth);
            }
            if let Some(digest) = reference(&map, "$list")? {
                let items = source.list(&digest)?;
                return items.iter().map(|item| restore_within(item, source, depth)).collect();
            }
            let mut restored = Map::new();
            for (key, item) in map {
                let key = match key.strip_prefix('$') {
                    Some(own) => own.to_owned(),
                    None => key,
                };
                restored.insert(key, resolve(item, source, depth)?);
            }
            Ok(Value::Object(restored))
        }
        scalar => Ok(scalar),
    }
}

fn reference(map: &Map<String, Value>, key: &str) -> Result<Option<Digest>, RegistryError> {
    match map.get(key) {
        Some(Value::String(digest)) if map.len() == 1 => {
            Digest::new(digest.as_str()).map(Some).map_err(|e| RegistryError::Damaged(e.to_string()))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::domain::call::Function;

    struct Memory(HashMap<Digest, String>, HashMap<Digest, ListItem>);

    impl From<Parts> for Memory {
        fn from(parts: Parts) -> Self {
            let lists = parts.lists.into_iter().map(|node| (node.digest.clone(), node)).collect();
            Self(parts.bodies.into_iter().collect(), lists)
        }
    }

    impl PartSource for Memory {
        fn body(&self, digest: &Digest) -> Result<String, RegistryError> {
            Ok(self.0[digest].clone())
        }
        fn list(&self, digest: &Digest) -> Result<Vec<String>, RegistryError> {
            let mut items = Vec::new();
            let mut next = Some(digest.clone());
            while let Some(digest) = next {
                let node = &self.1[&digest];
                items.push(node.item.clone());
                next = node.previous.clone();
            }
            items.reverse();
            Ok(items)
        }
    }

    #[test]
    fn the_canonical_encoding_is_what_is_written_here() {
        let value = json!({"b": [1, -2.5, 1.0, null, true], "a": {"é\n\"": "/"}, "A": u64::MAX});
        let text = r#"{"A":18446744073709551615,"a":{"é\n\"":"/"},"b":[1,-2.5,1.0,null,true]}"#;
        assert_eq!(canonical(&value), text);
    }

    #[test]
    fn a_request_digest_never_changes_between_releases() {
        let call = |function, arguments| CallRequest { function, arguments, effect: None };
        let digest = request_digest(&call(Function::WorkspaceRead, json!({"path": "a.rs", "lines": null})));
        assert_eq!(digest, digest_of(br#"["workspace.read",{"lines":null,"path":"a.rs"}]"#));
        assert_ne!(digest, request_digest(&call(Function::WorkspaceList, json!({"path": "a.rs", "lines": null}))));
    }

    #[test]
    fn a_growing_conversation_grows_by_its_messages_only() {
        let message = |i: usize| json!({"speaker": "user", "text": format!("{i} {}", "x".repeat(2000))});
        let (mut stored, mut messages_once) = (HashMap::<Digest, usize>::new(), 0);
        let mut forms = 0;
        let mut messages = Vec::new();
        for i in 0..100 {
            messages.push(message(i));
            messages_once += canonical(&message(i)).len();
            let mut parts = Parts::default();
            forms += parts.take(&json!({"model": "default", "messages": messages})).unwrap().len();
            stored.extend(parts.bodies.into_iter().map(|(digest, form)| (digest, form.len())));
            stored.extend(parts.lists.into_iter().map(|node| (node.digest, node.item.len() + 128)));
        }
        let total = forms + stored.values().sum::<usize>();
        assert!(total * 2 < messages_once * 3, "{total} bytes for {messages_once}");
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = (0..=MAX_DEPTH).fold(Value::Null, |inner, _| json!([inner]));
        assert!(matches!(Parts::default().take(&deep), Err(RegistryError::TooLarge { .. })));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            // Exact in a few digits: `serde_json` reads other floats to the last bit only with a feature.
            any::<i16>().prop_map(|n| Value::from(f64::from(n) / 16.0)),
            "[$a-z\\PC]{0,20}".prop_map(Value::from),
            "[a-z]{1000,1100}".prop_map(Value::from),
        ];
        let key = prop_oneof!["[$]{0,3}(body|list)", "[a-z]{1,3}"];
        leaf.prop_recursive(4, 60, 8, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map(key.clone(), inner, 0..8)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_taken_apart_comes_back_the_same(value in any_json()) {
            let mut parts = Parts::default();
            let form = parts.take(&value).unwrap();
            prop_assert!(form.len() <= INLINE_BYTES + 2);
            let restored = restore(&form, &Memory::from(parts)).unwrap();
            prop_assert_eq!(canonical(&restored), canonical(&value));
        }
    }
}
