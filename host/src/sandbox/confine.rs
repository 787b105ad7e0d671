//! What a command may reach beyond its work tree.

use std::ffi::OsString;
use std::path::PathBuf;

/// How commands are kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Confinement {
    /// Not at all, besides environment, time and output.
    Off,
}

impl Confinement {
    /// For reports: in which sandbox a command ran.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
        }
    }

    /// The program and arguments that are really started.
    pub(crate) fn launch(self, program: PathBuf, args: &[String]) -> (PathBuf, Vec<OsString>) {
        match self {
            Self::Off => (program, args.iter().map(OsString::from).collect()),
        }
    }
}
