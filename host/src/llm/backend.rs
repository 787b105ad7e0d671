//! What the gateway asks of whoever answers: one request in, one completion out, and how that can
//! fail. Back ends neither retry nor know budgets; the gateway does both.

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::id::{Role, TaskId};
use crate::domain::llm::{Completion, Request, Usage};

/// Where in a run a call stands. Scripted replies and generated ids depend on it, never on the
/// order in which calls arrive.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CallPosition {
    /// Whose call it is.
    pub role: Role,
    /// For which task; `0.1` and `0.2` are the specifying and the planning step.
    pub task: TaskId,
    /// Which try at the task, from 1.
    pub attempt: u32,
    /// Which answered call of the attempt, from 1.
    pub turn: u32,
}

impl std::fmt::Display for CallPosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "role {}, task {}, attempt {}, turn {}", self.role, self.task, self.attempt, self.turn)
    }
}

/// One call, ready to be sent.
#[derive(Debug, Clone)]
pub struct BackendCall {
    /// The conversation. `model` is the back end's own name for the model, no alias, and
    /// `max_output_tokens` is set.
    pub request: Request,
    /// Where the call stands.
    pub position: CallPosition,
}

/// Answers calls. One call is one exchange with the outside; dropping the future abandons it.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Short name for people, without secrets, such as `responses at api.openai.com`.
    fn name(&self) -> String;

    /// One completion.
    ///
    /// # Errors
    /// [`LlmError`]; its [`spent`](LlmError::spent) tells what is to be paid nevertheless.
    async fn complete(&self, call: BackendCall) -> Result<Completion, LlmError>;
}

/// What a failed call cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// Nothing was generated.
    Nothing,
    /// The request was sent and its end never seen: it counts as its reservation.
    Unknown,
    /// An answer came and could not be used.
    Usage(Usage),
}

/// How a call failed. Every text in here has passed the redaction of the configured secrets.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LlmError {
    /// No connection: nothing was sent.
    #[error("no connection to {endpoint}: {reason}")]
    Connect {
        /// Scheme, host and port.
        endpoint: String,
        /// The innermost cause.
        reason: String,
    },
    /// The connection ended in the middle of the exchange.
    #[error("the connection to {endpoint} was cut: {reason}")]
    Cut {
        /// Scheme, host and port.
        endpoint: String,
        /// The innermost cause.
        reason: String,
    },
    /// No whole answer within the limit.
    #[error("no whole answer within {limit_s} s")]
    TimedOut {
        /// The limit.
        limit_s: u64,
    },
    /// The server points elsewhere; a key must not follow.
    #[error("the server answered {status} and points to {location}; redirects are not followed")]
    Redirected {
        /// HTTP status.
        status: u16,
        /// Scheme, host and port of the target.
        location: String,
    },
    /// The server says that it failed or that the request is wrong.
    #[error("the server answered {status}: {message}")]
    Status {
        /// HTTP status.
        status: u16,
        /// The server's machine-readable code, such as `insufficient_quota`.
        code: Option<String>,
        /// The server's words, cut.
        message: String,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
    /// The answer is larger than the limit.
    #[error("the answer is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// A success status with a body that is no JSON.
    #[error("the answer is no JSON but {content_type}: {excerpt}")]
    NotJson {
        /// The content type that was announced.
        content_type: String,
        /// How the body starts.
        excerpt: String,
        /// What it probably cost.
        usage: Usage,
    },
    /// JSON without an answer in it.
    #[error("the answer makes no sense: {reason}")]
    Malformed {
        /// What is missing.
        reason: String,
        /// What it cost.
        usage: Usage,
    },
    /// The request cannot be put into the back end's form; nothing was sent.
    #[error("the request cannot be sent: {reason}")]
    Unsendable {
        /// Why.
        reason: String,
    },
    /// The script has no reply for this position.
    #[error("{file} has no reply for {position}; add a [[reply]] for it")]
    NoReply {
        /// The script.
        file: String,
        /// The asked position.
        position: String,
    },
}

impl LlmError {
    /// What has to be paid although the call failed.
    #[must_use]
    pub const fn spent(&self) -> Spent {
        match self {
            Self::Connect { .. }
            | Self::Redirected { .. }
            | Self::Status { .. }
            | Self::Unsendable { .. }
            | Self::NoReply { .. } => Spent::Nothing,
            Self::Cut { .. } | Self::TimedOut { .. } | Self::TooLarge { .. } => Spent::Unknown,
            Self::NotJson { usage, .. } | Self::Malformed { usage, .. } => Spent::Usage(*usage),
        }
    }

    /// Whether no call at all can be answered until a person has changed something: the key, the
    /// account, the model's name, the base URL. What one conversation causes is not of that kind, nor
    /// a server that is busy.
    #[must_use]
    pub fn needs_person(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Redirected { .. } | Self::NotJson { .. } => true,
            Self::Status { status, code, .. } => {
                matches!(status, 401..=404) || code.as_deref() == Some("insufficient_quota")
            }
            Self::Cut { .. }
            | Self::TimedOut { .. }
            | Self::TooLarge { .. }
            | Self::Malformed { .. }
            | Self::Unsendable { .. }
            | Self::NoReply { .. } => false,
        }
    }
}
