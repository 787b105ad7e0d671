//! The built-in plugins: components that `build.rs` made of `plugins/` and that the binary carries.

use super::PluginKind;

/// A component inside this binary.
#[derive(Debug, Clone, Copy)]
pub struct Builtin {
    /// What it is for; the name of its folder's folder.
    pub kind: PluginKind,
    /// The name of its folder.
    pub name: &'static str,
    /// The component.
    pub bytes: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/builtin.rs"));

/// The built-in plugin of this kind and name.
#[must_use]
pub fn find(kind: PluginKind, name: &str) -> Option<&'static Builtin> {
    ALL.iter().find(|builtin| builtin.kind == kind && builtin.name == name)
}
