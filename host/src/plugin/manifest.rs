//! `plugin.toml`: what a plugin is, what it wants of the host and why, its limits, and the settings that it
//! takes. It can only narrow what the component imports.

mod settings;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::PluginKind;
use crate::domain::grant::{self, Interface, Scope, Scopes};
use crate::domain::limits::LimitSettings;
pub use settings::{Setting, SettingKind};

/// The file's name in a project.
pub const FILE_NAME: &str = "plugin.toml";
/// A longer manifest is refused.
pub const MAX_MANIFEST_BYTES: usize = 64 * 1024;
/// Bytes of a text for people in it.
const MAX_TEXT_BYTES: usize = 1024;
/// Bytes of a name.
const MAX_NAME_BYTES: usize = 64;
/// Settings that one plugin may have.
const MAX_SETTINGS: usize = 100;

/// Why a manifest cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("plugin.toml:{line}: {message}")]
pub struct ManifestError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, with the key's name.
    pub message: String,
}

/// A checked manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// `a-z`, `0-9` and `-`.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// What the plugin is for.
    pub kind: PluginKind,
    /// One line for people.
    pub description: Option<String>,
    /// Interfaces that it wants.
    pub wants: BTreeMap<Interface, Want>,
    /// Limits that it wants.
    pub limits: LimitSettings,
    /// Settings that it takes, by name.
    pub settings: BTreeMap<String, Setting>,
}

/// A wish for an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Want {
    /// For the person who decides.
    pub why: String,
    /// Whether it works without.
    pub optional: bool,
    /// How much of it.
    #[serde(flatten)]
    pub scope: Scope,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    plugin: Head,
    #[serde(default)]
    wants: BTreeMap<Interface, WantFile>,
    #[serde(default)]
    limits: LimitSettings,
    #[serde(default)]
    settings: BTreeMap<String, Setting>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    name: toml::Spanned<String>,
    version: toml::Spanned<String>,
    kind: toml::Spanned<String>,
    description: Option<String>,
}

/// As [`Want`]; serde cannot refuse unknown keys of a part that is flattened.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WantFile {
    why: String,
    #[serde(default)]
    optional: bool,
    #[serde(default, deserialize_with = "grant::entries")]
    models: Option<Vec<String>>,
    #[serde(default)]
    max_tokens: Option<u64>,
    #[serde(default, deserialize_with = "grant::globs")]
    read: Option<Vec<String>>,
    #[serde(default, deserialize_with = "grant::globs")]
    write: Option<Vec<String>>,
    #[serde(default, deserialize_with = "grant::entries")]
    names: Option<Vec<String>>,
    #[serde(default, deserialize_with = "grant::entries")]
    prefixes: Option<Vec<String>>,
    #[serde(default, deserialize_with = "grant::entries")]
    kinds: Option<Vec<String>>,
}

impl From<WantFile> for Want {
    fn from(file: WantFile) -> Self {
        let WantFile { why, optional, models, max_tokens, read, write, names, prefixes, kinds } = file;
        Self { why, optional, scope: Scope { models, max_tokens, read, write, names, prefixes, kinds } }
    }
}

impl Manifest {
    /// Reads the text of a `plugin.toml`.
    ///
    /// # Errors
    /// [`ManifestError`] with the line: no TOML, an unknown key, a value out of its bounds, a wish that the
    /// kind's world does not allow, a default that its own setting refuses.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let at = |offset: usize, message: String| ManifestError {
            line: text[..text.floor_char_boundary(offset)].matches('\n').count() + 1,
            message: message.trim().replace('\n', "; "),
        };
        // Of what serde checks as a whole only the table is known.
        let in_table = |table: &str, message: String| at(text.find(&format!("[{table}]")).unwrap_or_default(), message);
        if text.len() > MAX_MANIFEST_BYTES {
            return Err(at(0, format!("it has {} bytes; {MAX_MANIFEST_BYTES} are allowed", text.len())));
        }
        let File { plugin, wants, limits, settings } = toml::from_str(text)
            .map_err(|error| at(error.span().map_or(0, |span| span.start), error.message().to_owned()))?;
        let spot = |spanned: &toml::Spanned<String>| spanned.span().start;
        check_name(plugin.name.get_ref()).map_err(|reason| at(spot(&plugin.name), reason))?;
        if let Err(error) = semver::Version::parse(plugin.version.get_ref()) {
            let message = format!("`{}` is no version such as 1.2.3: {error}", cut(plugin.version.get_ref()));
            return Err(at(spot(&plugin.version), message));
        }
        let kind: PluginKind = plugin.kind.get_ref().parse().map_err(|reason| at(spot(&plugin.kind), reason))?;
        if let Some(reason) = plugin.description.as_deref().and_then(too_long) {
            return Err(at(0, format!("`description` {reason}")));
        }
        let wants: BTreeMap<Interface, Want> = wants.into_iter().map(|(name, want)| (name, want.into())).collect();
        for (interface, want) in &wants {
            check_want(kind, *interface, want)
                .map_err(|reason| in_table(&format!("wants.{interface}"), format!("wants.{interface}: {reason}")))?;
        }
        if settings.len() > MAX_SETTINGS {
            return Err(at(0, format!("{} settings; {MAX_SETTINGS} are allowed", settings.len())));
        }
        for (name, setting) in &settings {
            let table = format!("settings.{name}");
            setting.check_itself().map_err(|reason| in_table(&table, format!("{table}: {reason}")))?;
        }
        let Head { name, version, kind: _, description } = plugin;
        Ok(Self { name: name.into_inner(), version: version.into_inner(), kind, description, wants, limits, settings })
    }

    /// The scopes that it asks for.
    #[must_use]
    pub fn asks(&self) -> Scopes {
        self.wants.iter().map(|(interface, want)| (*interface, want.scope.clone())).collect()
    }
}

/// Whether a plugin may have this name.
///
/// # Errors
/// What a name looks like.
pub fn check_name(name: &str) -> Result<(), String> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let edges = name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.ends_with('-');
    if name.len() > MAX_NAME_BYTES || !name.bytes().all(fits) || !edges {
        return Err(format!(
            "`{}` is no plugin name: a-z, 0-9 and `-`, a letter first, at most {MAX_NAME_BYTES}",
            cut(name)
        ));
    }
    Ok(())
}

fn check_want(kind: PluginKind, interface: Interface, want: &Want) -> Result<(), String> {
    if !kind.may_import(interface) {
        let allowed: Vec<&str> = kind.imports().iter().copied().filter(|name| *name != "log").collect();
        let allowed = if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") };
        return Err(format!("a {kind} plugin cannot have it; it may want {allowed}"));
    }
    if want.why.trim().is_empty() {
        return Err("`why` is empty; say what it is needed for".to_owned());
    }
    if let Some(reason) = too_long(&want.why) {
        return Err(format!("`why` {reason}"));
    }
    match want.scope.misplaced(interface) {
        Some(key) => Err(format!("`{key}` is no bound of {interface}")),
        None => Ok(()),
    }
}

fn too_long(text: &str) -> Option<String> {
    if text.chars().any(char::is_control) {
        return Some("has control characters; one line is wanted".to_owned());
    }
    (text.len() > MAX_TEXT_BYTES).then(|| format!("has {} bytes; {MAX_TEXT_BYTES} are allowed", text.len()))
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests;
