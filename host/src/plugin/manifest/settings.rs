//! The settings that a plugin takes, and whether an operator's values are some. Defaults are filled in, so that
//! what is recorded is what the plugin saw.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SettingKind {
    /// true or false
    Boolean,
    /// A whole number of 64 bits.
    Integer,
    /// A finite number.
    Number,
    /// A text.
    String,
    /// A list of texts.
    Strings,
}

impl SettingKind {
    const fn words(self) -> &'static str {
        match self {
            Self::Boolean => "true or false",
            Self::Integer => "a whole number",
            Self::Number => "a number",
            Self::String => "a text",
            Self::Strings => "a list of texts",
        }
    }
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// What its value is.
    #[serde(rename = "type")]
    pub kind: SettingKind,
    /// What it is when nobody sets it; absent: the plugin is not told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// The least; of a text its characters, of a list its entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The most, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// The only texts that are allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub one_of: Option<Vec<String>>,
    /// Whether it must be set.
    #[serde(default)]
    pub required: bool,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl Setting {
    /// Whether it makes sense, its default included.
    pub(super) fn check_itself(&self) -> Result<(), String> {
        let texts = matches!(self.kind, SettingKind::String | SettingKind::Strings);
        if self.one_of.is_some() && !texts {
            return Err("`one_of` is for texts".to_owned());
        }
        if self.kind == SettingKind::Boolean && (self.min.is_some() || self.max.is_some()) {
            return Err("true and false have no bounds".to_owned());
        }
        if self.min.zip(self.max).is_some_and(|(min, max)| min > max) {
            return Err("`min` is larger than `max`".to_owned());
        }
        match &self.default {
            Some(_) if self.required => Err("what has a default need not be set".to_owned()),
            Some(default) => self.check(default).map_err(|reason| format!("its default is {reason}")),
            None => Ok(()),
        }
    }

    /// Whether `value` is one.
    ///
    /// # Errors
    /// What is wanted instead, as the end of a sentence.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        let wrong = || Err(format!("{value}, but {} is wanted", self.kind.words()));
        match (self.kind, value) {
            (SettingKind::Boolean, Value::Bool(_)) => Ok(()),
            (SettingKind::Integer, Value::Number(number)) if number.is_i64() || number.is_u64() => {
                self.between(number.as_f64().unwrap_or_default(), "")
            }
            (SettingKind::Number, Value::Number(number)) => self.between(number.as_f64().unwrap_or_default(), ""),
            (SettingKind::String, Value::String(text)) => {
                self.listed(text)?;
                self.between(size(text.chars().count()), " characters")
            }
            (SettingKind::Strings, Value::Array(entries)) => {
                for entry in entries {
                    let Value::String(text) = entry else { return wrong() };
                    self.listed(text)?;
                }
                self.between(size(entries.len()), " entries")
            }
            _ => wrong(),
        }
    }

    fn listed(&self, text: &str) -> Result<(), String> {
        match &self.one_of {
            Some(allowed) if !allowed.iter().any(|entry| entry == text) => {
                Err(format!("`{}`, but it is one of: {}", super::cut(text), allowed.join(", ")))
            }
            _ => Ok(()),
        }
    }

    fn between(&self, number: f64, unit: &str) -> Result<(), String> {
        match (self.min, self.max) {
            (Some(min), _) if number < min => Err(format!("{number}{unit}, less than {min}")),
            (_, Some(max)) if number > max => Err(format!("{number}{unit}, more than {max}")),
            _ => Ok(()),
        }
    }
}

/// Far below where a 64-bit float loses count.
fn size(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

impl super::Manifest {
    /// The values that the plugin is given: those that were set, and the defaults of the others.
    ///
    /// # Errors
    /// One sentence for each that is unknown, missing or no value of its setting.
    pub fn settings(&self, set: &Map<String, Value>) -> Result<Map<String, Value>, Vec<String>> {
        check(&self.settings, set)
    }
}

fn check(known: &BTreeMap<String, Setting>, set: &Map<String, Value>) -> Result<Map<String, Value>, Vec<String>> {
    let mut problems = Vec::new();
    let mut values = Map::new();
    for (name, value) in set {
        match known.get(name).map(|setting| setting.check(value)) {
            Some(Ok(())) => {
                values.insert(name.clone(), value.clone());
            }
            Some(Err(reason)) => problems.push(format!("`{}` is {reason}", super::cut(name))),
            None if known.is_empty() => problems.push(format!("`{}` is set, but it has no settings", super::cut(name))),
            None => {
                let names: Vec<&str> = known.keys().map(String::as_str).collect();
                problems.push(format!("there is no `{}`; there are: {}", super::cut(name), names.join(", ")));
            }
        }
    }
    for (name, setting) in known.iter().filter(|(name, _)| !set.contains_key(*name)) {
        match &setting.default {
            Some(default) => {
                values.insert(name.clone(), default.clone());
            }
            None if setting.required => problems.push(format!("`{name}` has to be set: {}", setting.kind.words())),
            None => {}
        }
    }
    if problems.is_empty() { Ok(values) } else { Err(problems) }
}
