//! Components: loading, limits, host calls. `capability` says what a host offers to guests;
//! `service` implements it.
//!
//! [`Engine::load`] makes a [`Plugin`] of bytes, or says in words what is wrong with them. Every call of
//! a plugin is an execution: a fresh store, its own limits, a journal that sees each host call.

#[doc(hidden)]
pub mod bare;
pub(crate) mod bindings;
pub mod builtin;
mod call;
pub mod capability;
mod convert;
mod engine;
mod error;
pub mod fetch;
pub(crate) mod host;
mod limits;
mod load;
pub mod manifest;
mod precompiled;
pub(crate) mod section;
pub(crate) mod wasi;

pub use call::{Ended, ExecutionContext};
pub use engine::{Compiling, Engine, EngineOptions};
pub use error::{EngineError, ExecutionError, LoadError, is_replayable_on_record};
pub use limits::{GuestUsage, Limit, Limits};
pub(crate) use load::MAX_COMPONENT_BYTES;
pub(crate) use load::TRACK as CONTRACT;
pub use load::{Expectation, Plugin};

use std::fmt;
use std::str::FromStr;

use crate::domain::grant::Interface;
pub(crate) use error::InvalidOutput;

/// What a component is for; read off the interface that it exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PluginKind {
    /// World `spirit`: does assignments.
    Spirit,
    /// World `scheduling-policy`: orders ready tasks.
    Scheduling,
    /// World `routing-policy`: picks an instance.
    Routing,
    /// World `review-heuristic`: judges a change.
    Review,
}

impl PluginKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Spirit, Self::Scheduling, Self::Routing, Self::Review];

    /// The kind's name in settings and events: `spirit`, `scheduling`, `routing`, `review`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spirit => "spirit",
            Self::Scheduling => "scheduling",
            Self::Routing => "routing",
            Self::Review => "review",
        }
    }

    /// The kind with this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The world's name in `wit/worlds.wit`.
    #[must_use]
    pub const fn world(self) -> &'static str {
        match self {
            Self::Spirit => "spirit",
            Self::Scheduling => "scheduling-policy",
            Self::Routing => "routing-policy",
            Self::Review => "review-heuristic",
        }
    }

    /// The interface that its world exports.
    pub(crate) const fn interface(self) -> &'static str {
        match self {
            Self::Spirit => "role",
            Self::Scheduling => "scheduling",
            Self::Routing => "routing",
            Self::Review => "review",
        }
    }

    /// Whether its world may import what has to be granted.
    #[must_use]
    pub fn may_import(self, interface: Interface) -> bool {
        self.imports().contains(&interface.name())
    }

    /// The interfaces with functions that its world may import; the same list as in `wit/worlds.wit`.
    pub(crate) const fn imports(self) -> &'static [&'static str] {
        match self {
            Self::Spirit => {
                &["llm", "workspace", "workspace-edit", "command", "registry", "mailbox", "lock", "artifact", "log"]
            }
            Self::Scheduling | Self::Routing => &["log"],
            Self::Review => &["log", "workspace", "llm"],
        }
    }
}

impl fmt::Display for PluginKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for PluginKind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::by_name(text)
            .ok_or_else(|| format!("`{text}` is no kind of plugin; spirit, scheduling, routing and review are"))
    }
}
