//! The built-in plugins: components that `build.rs` made of `plugins/` and that the binary carries.

use super::PluginKind;
use crate::domain::id::Digest;

/// A component inside this binary.
#[derive(Debug, Clone, Copy)]
pub struct Builtin {
    /// What it is for; the name of its folder's folder.
    pub kind: PluginKind,
    /// The name of its folder.
    pub name: &'static str,
    /// SHA-256 of its bytes, in hexadecimal digits.
    pub digest: &'static str,
    /// The component, its manifest inside.
    pub bytes: &'static [u8],
}

/// Heuristics that a run does without unless they are named: they cost money, or mean nothing without settings.
const ON_REQUEST: [&str; 2] = ["licence-headers", "llm-critic"];
/// The policies of a run that names none.
const DEFAULT_POLICIES: [&str; 2] = ["least-busy", "priority"];

impl Builtin {
    /// Whether a run is without it unless it is named.
    #[must_use]
    pub fn on_request(&self) -> bool {
        ON_REQUEST.contains(&self.name)
    }

    /// Whether a run has it that names no plugins at all.
    #[must_use]
    pub fn is_default(&self) -> bool {
        match self.kind {
            PluginKind::Routing | PluginKind::Scheduling => DEFAULT_POLICIES.contains(&self.name),
            PluginKind::Spirit | PluginKind::Review => !self.on_request(),
        }
    }
}

/// Whether a component of this digest is built in.
#[must_use]
pub fn has(digest: &Digest) -> bool {
    of_digest(digest).is_some()
}

/// The built-in plugin of this digest.
#[must_use]
pub fn of_digest(digest: &Digest) -> Option<&'static Builtin> {
    ALL.iter().find(|builtin| builtin.digest == digest.as_str())
}

include!(concat!(env!("OUT_DIR"), "/builtin.rs"));

/// The built-in plugin of this kind and name.
#[must_use]
pub fn find(kind: PluginKind, name: &str) -> Option<&'static Builtin> {
    ALL.iter().find(|builtin| builtin.kind == kind && builtin.name == name)
}
