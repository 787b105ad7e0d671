//! A back end that plays replies from a file, chosen by role, task, attempt and turn, never by the
//! order of arrival, so that parallel runs are repeatable.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use tokio::sync::watch;

use super::backend::{Backend, BackendCall, CallPosition, LlmError};
use super::{estimate, lenient};
use crate::domain::id::{Role, TaskId};
use crate::domain::llm::{Completion, FinishReason, Request, ToolCall, Usage};

/// Largest script.
pub const MAX_SCRIPT_BYTES: u64 = 16 * 1024 * 1024;
/// Most replies in a script.
pub const MAX_REPLIES: usize = 10_000;
/// How long a reply waits for the others of its barrier before it goes on without them.
pub const BARRIER_WAIT: Duration = Duration::from_secs(10);
/// The version of the format.
const VERSION: u32 = 1;

/// Why a file is no script.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// It cannot be read.
    #[error("cannot read the script {file}")]
    Read {
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is larger than [`MAX_SCRIPT_BYTES`] or has more than [`MAX_REPLIES`] replies.
    #[error("the script {file} is larger than {limit}")]
    TooLarge {
        /// The file.
        file: String,
        /// The limit, with its unit.
        limit: String,
    },
    /// It is no TOML of this form.
    #[error("the script {file} cannot be understood")]
    Syntax {
        /// The file.
        file: String,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// It is of another version.
    #[error("the script {file} has version {version}, this host plays version 1")]
    Version {
        /// The file.
        file: String,
        /// Its version.
        version: u32,
    },
    /// One reply makes no sense.
    #[error("{file}: reply {number} {reason}")]
    Reply {
        /// The file.
        file: String,
        /// Which reply, from 1.
        number: usize,
        /// Which rule it breaks.
        reason: String,
    },
    /// Two replies fit the same position.
    #[error("{file}: replies {first} and {second} both answer role {role}, task {task}, turn {turn}{attempt}")]
    Ambiguous {
        /// The file.
        file: String,
        /// The first reply, from 1.
        first: usize,
        /// The second one.
        second: usize,
        /// Whose.
        role: Role,
        /// For which task.
        task: TaskId,
        /// Which turn.
        turn: u32,
        /// `, attempt n`, or nothing when both stand for any attempt.
        attempt: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    #[serde(default)]
    reply: Vec<Reply>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reply {
    role: Role,
    task: TaskId,
    attempt: Option<u32>,
    turn: u32,
    #[serde(default)]
    text: String,
    usage: Option<ScriptedUsage>,
    #[serde(default)]
    call: Vec<Call>,
    barrier: Option<String>,
    barrier_size: Option<usize>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScriptedUsage {
    input_tokens: u64,
    #[serde(default)]
    cached_input_tokens: u64,
    output_tokens: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    name: String,
    arguments: Option<toml::Table>,
    arguments_text: Option<String>,
}

/// A script: replies by position.
#[derive(Debug)]
pub struct Script {
    file: String,
    replies: Vec<Reply>,
    by_turn: HashMap<(Role, TaskId, u32), Vec<usize>>,
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// [`ScriptError`] names the file and the reply.
    pub fn load(path: &Path) -> Result<Self, ScriptError> {
        let file = path.display().to_string();
        let read = |source| ScriptError::Read { file: file.clone(), source };
        // A device says that it is empty and has no end: what counts is how much comes.
        let mut text = String::new();
        let script = std::fs::File::open(path).map_err(read)?;
        script.take(MAX_SCRIPT_BYTES + 1).read_to_string(&mut text).map_err(read)?;
        if text.len() as u64 > MAX_SCRIPT_BYTES {
            return Err(ScriptError::TooLarge { file, limit: format!("{MAX_SCRIPT_BYTES} bytes") });
        }
        Self::parse(&text, &file)
    }

    /// Reads a script from text; `file` is what errors call it.
    ///
    /// # Errors
    /// [`ScriptError`] names the reply.
    pub fn parse(text: &str, file: &str) -> Result<Self, ScriptError> {
        let syntax = |source| ScriptError::Syntax { file: file.to_owned(), source: Box::new(source) };
        let parsed: File = toml::from_str(text).map_err(syntax)?;
        let bad = |number, reason: String| ScriptError::Reply { file: file.to_owned(), number, reason };
        if parsed.version != VERSION {
            return Err(ScriptError::Version { file: file.to_owned(), version: parsed.version });
        }
        if parsed.reply.len() > MAX_REPLIES {
            return Err(ScriptError::TooLarge { file: file.to_owned(), limit: format!("{MAX_REPLIES} replies") });
        }
        let mut script = Self { file: file.to_owned(), replies: Vec::new(), by_turn: HashMap::new() };
        for (i, reply) in parsed.reply.into_iter().enumerate() {
            check(&reply).map_err(|reason| bad(i + 1, reason))?;
            script.add(reply)?;
        }
        script.check_barriers()?;
        Ok(script)
    }

    fn add(&mut self, reply: Reply) -> Result<(), ScriptError> {
        let at = self.replies.len();
        let same_turn = self.by_turn.entry((reply.role.clone(), reply.task.clone(), reply.turn)).or_default();
        let overlaps = |other: &&usize| match (self.replies[**other].attempt, reply.attempt) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        if let Some(&first) = same_turn.iter().find(overlaps) {
            let attempt = reply.attempt.or(self.replies[first].attempt);
            return Err(ScriptError::Ambiguous {
                file: self.file.clone(),
                first: first + 1,
                second: at + 1,
                role: reply.role,
                task: reply.task,
                turn: reply.turn,
                attempt: attempt.map(|attempt| format!(", attempt {attempt}")).unwrap_or_default(),
            });
        }
        same_turn.push(at);
        self.replies.push(reply);
        Ok(())
    }

    fn check_barriers(&self) -> Result<(), ScriptError> {
        let mut sizes: HashMap<&str, (usize, usize)> = HashMap::new();
        for (i, reply) in self.replies.iter().enumerate() {
            let (Some(name), Some(size)) = (&reply.barrier, reply.barrier_size) else { continue };
            let (first_size, members) = sizes.entry(name).or_insert((size, 0));
            *members += 1;
            if *first_size != size || *members > size {
                let reason = format!("disagrees with the others of barrier `{name}` about its size");
                return Err(ScriptError::Reply { file: self.file.clone(), number: i + 1, reason });
            }
        }
        Ok(())
    }

    fn find(&self, position: &CallPosition) -> Option<(usize, &Reply)> {
        let same_turn = self.by_turn.get(&(position.role.clone(), position.task.clone(), position.turn))?;
        let fits = |i: &&usize| self.replies[**i].attempt.is_none_or(|attempt| attempt == position.attempt);
        same_turn.iter().find(fits).map(|&i| (i, &self.replies[i]))
    }

    /// The reply for a position, at once: barriers are not waited for.
    ///
    /// # Errors
    /// [`LlmError::NoReply`] names the script and the position.
    pub fn reply(&self, position: &CallPosition, request: &Request) -> Result<Completion, LlmError> {
        let (_, reply) = self
            .find(position)
            .ok_or_else(|| LlmError::NoReply { file: self.file.clone(), position: position.to_string() })?;
        let tool_calls: Vec<ToolCall> = (1..)
            .zip(&reply.call)
            .map(|(n, call)| ToolCall {
                id: lenient::generated_id(position.turn, n),
                name: call.name.clone(),
                arguments: arguments(call),
            })
            .collect();
        let finish_reason = if tool_calls.is_empty() { FinishReason::Stop } else { FinishReason::ToolCalls };
        let mut completion = Completion {
            text: reply.text.clone(),
            tool_calls,
            finish_reason,
            usage: Usage::default(),
            model: request.model.clone(),
            provider_state: None,
        };
        completion.usage = match reply.usage {
            Some(usage) => Usage {
                input_tokens: usage.input_tokens,
                cached_input_tokens: usage.cached_input_tokens,
                output_tokens: usage.output_tokens,
                estimated: false,
            },
            None => Usage {
                input_tokens: estimate::request_tokens(request),
                cached_input_tokens: 0,
                output_tokens: estimate::completion_tokens(&completion),
                estimated: true,
            },
        };
        Ok(completion)
    }
}

fn check(reply: &Reply) -> Result<(), String> {
    if reply.turn == 0 || reply.attempt == Some(0) {
        return Err("counts turn or attempt from 0; both count from 1".to_owned());
    }
    match (&reply.barrier, reply.barrier_size) {
        (None, None) | (Some(_), Some(1..)) => {}
        _ => return Err("needs `barrier` and a `barrier_size` from 1 together".to_owned()),
    }
    if reply.usage.is_some_and(|usage| usage.cached_input_tokens > usage.input_tokens) {
        return Err("has more cached input tokens than input tokens".to_owned());
    }
    for call in &reply.call {
        if call.arguments.is_some() == call.arguments_text.is_some() {
            return Err(format!("needs either `arguments` or `arguments_text` for its call of `{}`", call.name));
        }
        if call.arguments.as_ref().is_some_and(|table| serde_json::to_string(table).is_err()) {
            return Err(format!("has arguments for `{}` that JSON cannot express", call.name));
        }
    }
    Ok(())
}

fn arguments(call: &Call) -> String {
    match (&call.arguments, &call.arguments_text) {
        // Whether the table has a JSON form was checked when the script was read.
        (Some(table), _) => serde_json::to_string(table).unwrap_or_default(),
        (None, text) => text.clone().unwrap_or_default(),
    }
}

/// How many different replies of a barrier were asked for; the barrier is open when all were.
struct Barrier {
    asked: Vec<usize>,
    open: watch::Sender<bool>,
}

/// Plays a [`Script`].
pub struct ScriptedBackend {
    script: Script,
    barriers: Mutex<HashMap<String, Barrier>>,
}

impl std::fmt::Debug for ScriptedBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScriptedBackend").field("file", &self.script.file).finish_non_exhaustive()
    }
}

impl ScriptedBackend {
    /// Plays `script`.
    #[must_use]
    pub fn new(script: Script) -> Self {
        Self { script, barriers: Mutex::default() }
    }

    /// Reads a script and plays it.
    ///
    /// # Errors
    /// [`ScriptError`] as for [`Script::load`].
    pub fn load(path: PathBuf) -> Result<Self, ScriptError> {
        Script::load(&path).map(Self::new)
    }

    /// Waits until every reply of the barrier was asked for, or [`BARRIER_WAIT`] is over: a script
    /// can make spirits run at the same time, and can't make them hang.
    async fn pass(&self, index: usize, name: &str, size: usize) {
        let mut open = {
            let mut barriers = self.barriers.lock().unwrap_or_else(PoisonError::into_inner);
            let barrier = barriers
                .entry(name.to_owned())
                .or_insert_with(|| Barrier { asked: Vec::new(), open: watch::Sender::new(false) });
            if !barrier.asked.contains(&index) {
                barrier.asked.push(index);
            }
            if barrier.asked.len() >= size {
                barrier.open.send_replace(true);
            }
            barrier.open.subscribe()
        };
        if tokio::time::timeout(BARRIER_WAIT, open.wait_for(|open| *open)).await.is_err() {
            tracing::warn!(barrier = name, "not every reply of the barrier was asked for in time; going on");
        }
    }
}

#[async_trait]
impl Backend for ScriptedBackend {
    fn name(&self) -> String {
        format!("script {}", self.script.file)
    }

    async fn complete(&self, call: BackendCall) -> Result<Completion, LlmError> {
        let completion = self.script.reply(&call.position, &call.request)?;
        if let Some((index, Reply { barrier: Some(name), barrier_size: Some(size), .. })) =
            self.script.find(&call.position)
        {
            self.pass(index, name, *size).await;
        }
        Ok(completion)
    }
}

#[cfg(test)]
#[path = "scripted/tests.rs"]
mod tests;
