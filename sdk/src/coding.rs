//! The coding loop that the spirits share: ask the model, do what its tool calls say, answer every
//! call, until it finishes or a bound is reached. It runs over [`Host`], so that tests need no wasm.
//!
//! [`perform`] is the whole. Its parts can be used one by one: [`system`] and [`task`] write the first two
//! messages, a [`Conversation`] holds what is sent, a [`Toolbox`] offers the tools, and [`step`] does what one
//! answer says. A loop of one's own, with another model and another bound:
//!
//! ```
//! use necro_sdk::coding::{self, Conversation, Host, Prompt, Step, Toolbox};
//! use necro_sdk::spirit::{Assignment, Report};
//! use necro_sdk::{Failure, Settings, Spirit};
//!
//! const PROMPT: Prompt = Prompt { en: "You fix typing errors.", ja: "誤字を直します。" };
//!
//! fn perform(host: &mut dyn Host, assignment: &Assignment) -> Result<Report, Failure> {
//!     let toolbox = Toolbox::for_commands(&assignment.commands);
//!     let (system, task) = (coding::system(&PROMPT, assignment), coding::task(assignment));
//!     let mut conversation = Conversation::open("fast".to_owned(), system, task, toolbox.offered());
//!     for turn in 1..=5 {
//!         let answer = host.complete(conversation.request())?;
//!         match coding::step(host, &toolbox, &mut conversation, answer, turn)? {
//!             Step::Finished(report) => return Ok(report),
//!             Step::Useful | Step::Unusable => {}
//!         }
//!     }
//!     Err(Failure::gave_up("five turns were not enough"))
//! }
//! ```
//!
//! `action` does tool calls, `bounds` keeps what the model sees short.

mod action;
mod bounds;
mod conversation;
mod host;
mod prompt;
#[cfg(test)]
mod tests;
mod tools;

use serde::Deserialize;

use crate::host::llm::{Completion, FinishReason};
use crate::spirit::{Assignment, Report};
use crate::{Failure, HostError, Settings, error_text};
pub use conversation::Conversation;
pub use host::{Host, Imports};
pub use prompt::{Prompt, assignment as task, system};
use tools::Action;
pub use tools::Toolbox;

/// Model calls in one attempt unless settings say otherwise.
pub const DEFAULT_MAX_TURNS: u32 = 60;
/// Answers in a row without one well-formed tool call, after which the attempt ends.
pub const MAX_UNUSABLE_ANSWERS: u32 = 3;
/// Tool calls that are done out of one answer; the rest are answered but not done.
pub const MAX_CALLS_PER_ANSWER: usize = 32;
/// The model is told when only this many turns are left.
const REMINDER_TURNS: u32 = 5;
/// Characters of a model's last words that are kept for people.
const LAST_WORDS_CHARS: usize = 1_000;

/// What an operator may set for the loop.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoopSettings {
    /// Model calls in one attempt, at least 1.
    pub max_turns: u32,
    /// Model alias of the host's configuration.
    pub model: String,
}

impl Default for LoopSettings {
    fn default() -> Self {
        Self { max_turns: DEFAULT_MAX_TURNS, model: "default".to_owned() }
    }
}

/// Do `assignment` as the spirit that `prompt` describes.
///
/// # Errors
/// [`Failure::Host`] when the model cannot be asked, the budget is used up or the attempt was
/// cancelled; [`Failure::GaveUp`] at the bounds above; [`Failure::Invalid`] for bad settings.
pub fn perform(
    host: &mut dyn Host,
    prompt: &Prompt,
    assignment: &Assignment,
    settings: &Settings,
) -> Result<Report, Failure> {
    let settings: LoopSettings = settings.read()?;
    if settings.max_turns == 0 {
        return Err(Failure::Invalid("settings: max_turns must be at least 1".to_owned()));
    }
    let toolbox = Toolbox::for_commands(&assignment.commands);
    let mut conversation = Conversation::open(
        settings.model,
        prompt::system(prompt, assignment),
        prompt::assignment(assignment),
        toolbox.offered(),
    );
    let mut unusable = 0;
    for turn in 1..=settings.max_turns {
        if turn > 1 && settings.max_turns - turn + 1 == REMINDER_TURNS {
            conversation.tell(format!("{REMINDER_TURNS} turns are left. Bring the work to an end and call `finish`."));
        }
        let answer = host.complete(conversation.request()).map_err(Failure::Host)?;
        // Rules that watch progress (the same call again, no change for many turns) and compaction
        // belong here: they see the whole conversation and every step.
        match step(host, &toolbox, &mut conversation, answer, turn)? {
            Step::Finished(report) => return Ok(report),
            Step::Useful => unusable = 0,
            Step::Unusable => unusable += 1,
        }
        if unusable == MAX_UNUSABLE_ANSWERS {
            let why = format!("{MAX_UNUSABLE_ANSWERS} answers in a row had no usable tool call");
            return Err(give_up(host, &conversation, why));
        }
    }
    Err(give_up(host, &conversation, format!("not finished after {} turns", settings.max_turns)))
}

/// What one answer of the model came to.
#[derive(Debug)]
pub enum Step {
    /// At least one tool call was well-formed.
    Useful,
    /// Nothing in it could be done.
    Unusable,
    /// The work is finished, as the model says.
    Finished(Report),
}

/// Do what an answer says, as the `turn`-th one. On return every tool call in it has exactly one reply.
///
/// # Errors
/// [`Failure::Host`] when the budget is used up or the attempt was cancelled; other errors of the host are told to
/// the model.
pub fn step(
    host: &mut dyn Host,
    toolbox: &Toolbox,
    conversation: &mut Conversation,
    answer: Completion,
    turn: u32,
) -> Result<Step, Failure> {
    let cut = answer.finish_reason == FinishReason::Length;
    let calls = conversation.record_answer(answer, turn);
    if calls.is_empty() {
        conversation.tell(nudge(cut));
        return Ok(Step::Unusable);
    }
    let mut useful = false;
    let mut trouble = false;
    let mut finished = None;
    let mut ended = None;
    for (position, call) in calls.iter().enumerate() {
        let skipped = if ended.is_some() {
            Some("the attempt has ended")
        } else if finished.is_some() {
            Some("the work is already finished")
        } else if position >= MAX_CALLS_PER_ANSWER {
            Some("too many calls in one answer; make them again in the next")
        } else {
            None
        };
        if let Some(why) = skipped {
            conversation.reply(&call.id, format!("Not done: {why}."));
            continue;
        }
        let reply = match toolbox.read(call) {
            Err(mistake) => {
                trouble = true;
                if cut { format!("{mistake} Your answer was cut at the output limit.") } else { mistake }
            }
            Ok(Action::Finish(_)) if trouble => {
                useful = true;
                "Not finished: a call before this one in the same answer failed. Look at it first.".to_owned()
            }
            Ok(Action::Finish(report)) => {
                finished = Some(report);
                "Finished.".to_owned()
            }
            Ok(action) => {
                useful = true;
                action::perform(host, &action).unwrap_or_else(|error| {
                    trouble = true;
                    let text = error_text(&error);
                    if ends_attempt(&error) {
                        ended = Some(error);
                    }
                    text
                })
            }
        };
        conversation.reply(&call.id, reply);
    }
    match (ended, finished) {
        (Some(error), _) => Err(Failure::Host(error)),
        (None, Some(report)) => Ok(Step::Finished(report)),
        (None, None) if useful => Ok(Step::Useful),
        (None, None) => Ok(Step::Unusable),
    }
}

/// Whether nothing that the model does next can help. Any other error is its to deal with.
fn ends_attempt(error: &HostError) -> bool {
    matches!(error, HostError::BudgetExceeded(_) | HostError::Cancelled(_))
}

fn nudge(cut: bool) -> String {
    let cause = if cut { "Your answer was cut at the output limit. " } else { "" };
    format!("{cause}Nothing happens without a tool call: go on with one, or call `finish` when the work is done.")
}

/// Leave the model's last words as a note, then give up.
fn give_up(host: &mut dyn Host, conversation: &Conversation, why: String) -> Failure {
    if let Some(words) = conversation.last_words() {
        // The attempt fails either way, and a note that is not granted changes nothing.
        let _ = host.note(&format!("Gave up: {why}. Last words: {}", bounds::shorten(words, LAST_WORDS_CHARS)));
    }
    Failure::GaveUp(why)
}
