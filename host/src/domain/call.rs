//! Host calls of a component: their names, their classes, and how they fail. Every function of the
//! plugin contract stands in [`Function`]; one without a class does not compile.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::assignment::Envelope;
use super::excerpt::excerpt;
use super::grant::Interface;

/// When a call's record becomes durable (design: executions).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Reads only: durable with the next record.
    Observe,
    /// Effect inside the registry: effect and answer commit together, no intent.
    Local,
    /// Effect outside the registry: intent first, then the effect, then the answer.
    External,
}

/// Makes [`Function`] with a name and a class for each variant.
macro_rules! functions {
    ($($variant:ident = $name:literal, $class:ident;)*) => {
        /// A function of the plugin contract.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Function {
            $(
                #[doc = concat!("`", $name, "`")]
                #[serde(rename = $name)]
                $variant,
            )*
        }

        impl Function {
            /// Every function.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// `interface.function` as in `wit/`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// When its record becomes durable.
            #[must_use]
            pub const fn class(self) -> Class {
                match self { $(Self::$variant => Class::$class),* }
            }
        }
    };
}

functions! {
    LlmComplete = "llm.complete", External;
    WorkspaceRead = "workspace.read", Observe;
    WorkspaceList = "workspace.list", Observe;
    WorkspaceSearch = "workspace.search", Observe;
    WorkspaceStatus = "workspace.status", Observe;
    WorkspaceDiff = "workspace.diff", Observe;
    WorkspaceWrite = "workspace-edit.write", External;
    WorkspaceApply = "workspace-edit.apply", External;
    WorkspaceRemove = "workspace-edit.remove", External;
    CommandRun = "command.run", External;
    RegistryTask = "registry.task", Observe;
    RegistrySpecDocument = "registry.spec-document", Observe;
    RegistryDependencyReports = "registry.dependency-reports", Observe;
    RegistryEvents = "registry.events", Observe;
    RegistryNote = "registry.note", Local;
    MailboxSend = "mailbox.send", Local;
    MailboxReceive = "mailbox.receive", Local;
    LockAcquire = "lock.acquire", Local;
    LockRelease = "lock.release", Local;
    ArtifactGet = "artifact.get", Observe;
    ArtifactPut = "artifact.put", Local;
    LogEmit = "log.emit", Observe;
}

impl Function {
    /// The interface that has to be granted for it; none for `log`.
    #[must_use]
    pub fn interface(self) -> Option<Interface> {
        self.name().split('.').next().and_then(Interface::by_name)
    }

    /// The function with this `interface.function` name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|f| f.name() == name)
    }
}

/// An expected failure of a host call, as the guest sees it. The text says what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "error", content = "message", rename_all = "kebab-case")]
pub enum HostError {
    /// Not allowed.
    #[error("denied: {0}")]
    Denied(String),
    /// The named thing does not exist.
    #[error("not found: {0}")]
    NotFound(String),
    /// The state is not what the call supposed.
    #[error("conflict: {0}")]
    Conflict(String),
    /// The budget left does not cover the call.
    #[error("budget exceeded: {0}")]
    BudgetExceeded(String),
    /// The host gave up waiting.
    #[error("timed out: {0}")]
    TimedOut(String),
    /// The attempt was cancelled from outside.
    #[error("cancelled: {0}")]
    Cancelled(String),
    /// The request makes no sense as it is.
    #[error("invalid: {0}")]
    Invalid(String),
    /// The effect may or may not have happened.
    #[error("uncertain: {0}")]
    Uncertain(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// What a call cost; zero for most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Tokens sent.
    pub input_tokens: u64,
    /// The part of `input_tokens` that came from the provider's cache.
    pub cached_input_tokens: u64,
    /// Tokens received.
    pub output_tokens: u64,
    /// Money, in millionths of a US dollar; absent when a price is unknown.
    pub cost_microusd: Option<u64>,
}

/// A paid call that gave no answer, and what it cost nevertheless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// For the guest.
    pub error: HostError,
    /// What was spent before it failed.
    pub cost: Cost,
}

impl From<HostError> for Refused {
    fn from(error: HostError) -> Self {
        Self { error, cost: Cost::default() }
    }
}

/// How a component's exported function failed, as the component itself says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "failure", content = "detail", rename_all = "kebab-case")]
pub enum Failure {
    /// A host call failed and the plugin could not go on.
    #[error("{0}")]
    Host(HostError),
    /// The input, settings or state cannot be worked with.
    #[error("the plugin cannot work with its input: {0}")]
    Invalid(String),
    /// The work could not be finished within the plugin's own bounds.
    #[error("gave up: {0}")]
    GaveUp(String),
}

/// An effect inside the registry: it commits together with its journal record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "kebab-case")]
pub enum LocalEffect {
    /// `registry.note`
    Note {
        /// The note.
        text: String,
    },
    /// `mailbox.send`
    Send {
        /// The message.
        message: Envelope,
    },
    /// `mailbox.receive`
    Receive,
    /// `lock.acquire`
    Acquire {
        /// Name of the lock.
        name: String,
        /// How long the lease lasts.
        ttl_ms: u64,
        /// How long to wait for it.
        wait_ms: u64,
    },
    /// `lock.release`
    Release {
        /// The lease.
        lease: String,
    },
    /// `artifact.put`
    Put {
        /// diff, log, test, binary or another name.
        kind: String,
        /// File name for people.
        name: String,
        /// MIME type.
        media_type: String,
        /// The bytes; recorded by digest.
        #[serde(skip)]
        bytes: Vec<u8>,
    },
}

/// What a local effect answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", content = "value", rename_all = "kebab-case")]
pub enum LocalAnswer {
    /// Nothing to say.
    Done,
    /// Received messages.
    Messages(Vec<Envelope>),
    /// A lease's id.
    Lease(String),
    /// An artifact's address.
    Uri(String),
}

/// A repeated execution asked something else than its record says.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("call {sequence} is another one than on record: recorded {}, now {}", shown(recorded), now.as_ref().map_or_else(|| "it returned".to_owned(), shown))]
pub struct Divergence {
    /// Number of the call.
    pub sequence: u64,
    /// The function on record, and its arguments.
    pub recorded: (Function, Value),
    /// What was asked now; absent: it returned instead.
    pub now: Option<(Function, Value)>,
}

/// Of a request in a message, so many bytes are shown from its beginning and from its end.
const MAX_SHOWN_BYTES: usize = 400;

fn shown((function, arguments): &(Function, Value)) -> String {
    format!("`{}` {}", function.name(), excerpt(&arguments.to_string(), MAX_SHOWN_BYTES, MAX_SHOWN_BYTES))
}

/// A call as the journal sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct CallRequest {
    /// Which function.
    pub function: Function,
    /// Its arguments, with large bytes replaced by their digest.
    pub arguments: Value,
    /// What the host found out before it acts, such as the digests of a file before and after; no part
    /// of the request's digest, because the guest does not say it.
    pub effect: Option<Value>,
}
