//! An execution's record, played back call by call: what the repeated component asks must be what it
//! asked then.

use std::collections::VecDeque;

use crate::domain::call::{CallRequest, Divergence, Function};
use crate::plugin::capability::{JournalError, Recorded};
use crate::registry::{CallRecord, request_digest};

/// The calls of a record that were not asked for again yet.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    calls: VecDeque<CallRecord>,
    /// Changes of files after this call are not in the work tree.
    restored_to: u64,
}

/// What stands at the tape's head.
#[derive(Debug, PartialEq)]
pub(crate) enum Played {
    /// The tape is at its end.
    End,
    /// What the record says.
    Recorded(Recorded),
    /// A model call that was sent this often, perhaps, and never answered.
    Uncertain {
        /// Its number.
        sequence: u64,
        /// How often.
        tries: u32,
    },
}

impl Tape {
    /// Plays all of `calls`; the work tree, if there is one, is as it was after call `restored_to`.
    pub(crate) fn new(calls: Vec<CallRecord>, restored_to: u64) -> Self {
        Self { calls: calls.into(), restored_to }
    }

    /// The next call's record, taken off the tape.
    ///
    /// # Errors
    /// [`JournalError::Diverged`] when `call` is another one, [`JournalError::Unreadable`] when the record
    /// goes on behind a call without an answer.
    pub(crate) fn next(&mut self, call: &CallRequest) -> Result<Played, JournalError> {
        let Some(recorded) = self.calls.pop_front() else { return Ok(Played::End) };
        let CallRecord { sequence, function, digest, arguments, effect, answer, tries, .. } = recorded;
        if function != call.function || digest != request_digest(call) {
            return Err(JournalError::Diverged(Box::new(Divergence {
                sequence,
                recorded: (function, arguments),
                now: Some((call.function, call.arguments.clone())),
            })));
        }
        match answer {
            Some(answer) => {
                let redo = changes_files(function) && sequence > self.restored_to && answer.get("Ok").is_some();
                Ok(Played::Recorded(Recorded::Answered { answer, effect, redo }))
            }
            None if !self.calls.is_empty() => {
                Err(JournalError::Unreadable(format!("call {sequence} has no answer, and other calls follow it")))
            }
            None if function == Function::LlmComplete => Ok(Played::Uncertain { sequence, tries }),
            None => Ok(Played::Recorded(Recorded::Begun { sequence })),
        }
    }

    /// The divergence of a component that has returned before it asked for everything.
    pub(crate) fn left_over(&self) -> Option<Divergence> {
        let next = self.calls.front()?;
        Some(Divergence { sequence: next.sequence, recorded: (next.function, next.arguments.clone()), now: None })
    }
}

/// Whether a call changes files of the work tree.
pub(crate) const fn changes_files(function: Function) -> bool {
    matches!(function, Function::WorkspaceWrite | Function::WorkspaceApply | Function::WorkspaceRemove)
}

/// The newest work tree that a record has as a git tree, and the call after which it was taken.
///
/// # Errors
/// The number of a command that has run, and whose work tree no git tree could hold.
pub(crate) fn newest_tree(calls: &[CallRecord]) -> Result<Option<(u64, String)>, u64> {
    let has_run = |call: &&CallRecord| {
        call.function == Function::CommandRun && call.answer.as_ref().is_some_and(|answer| answer.get("Ok").is_some())
    };
    let Some(newest) = calls.iter().rfind(has_run) else { return Ok(None) };
    let tree = newest.effect.as_ref().and_then(|effect| effect["tree"].as_str());
    tree.map(|tree| Some((newest.sequence, tree.to_owned()))).ok_or(newest.sequence)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::call::Cost;

    fn call(function: Function, path: &str) -> CallRequest {
        CallRequest { function, arguments: json!({ "path": path }), effect: None }
    }

    fn record(sequence: u64, call: &CallRequest, answer: Option<Value>, effect: Option<Value>) -> CallRecord {
        CallRecord {
            sequence,
            function: call.function,
            digest: request_digest(call),
            arguments: call.arguments.clone(),
            effect,
            at: jiff::Timestamp::UNIX_EPOCH,
            answer,
            answered_at: None,
            cost: Cost::default(),
            tries: 1,
        }
    }

    #[test]
    fn what_was_asked_then_is_answered_and_what_was_not_is_a_divergence() {
        let (a, b) = (call(Function::WorkspaceRead, "a"), call(Function::WorkspaceRead, "b"));
        let ok = json!({ "Ok": 1 });
        let mut tape = Tape::new(vec![record(1, &a, Some(ok.clone()), None), record(2, &b, Some(ok.clone()), None)], 0);
        let answered = Recorded::Answered { answer: ok, effect: None, redo: false };
        assert_eq!(tape.next(&a), Ok(Played::Recorded(answered)));
        assert_eq!(tape.left_over().unwrap().sequence, 2);
        let Err(JournalError::Diverged(found)) = tape.next(&a) else { panic!("no divergence") };
        assert_eq!(
            found.to_string(),
            "call 2 is another one than on record: recorded `workspace.read` {\"path\":\"b\"}, now `workspace.read` \
             {\"path\":\"a\"}"
        );
        assert_eq!((tape.next(&a), tape.left_over()), (Ok(Played::End), None));
    }

    #[test]
    fn only_changes_of_files_after_the_restored_state_are_made_again() {
        let (write, run) = (call(Function::WorkspaceWrite, "a"), call(Function::CommandRun, "test"));
        let (done, failed) = (json!({ "Ok": null }), json!({ "Err": { "error": "denied", "message": "" } }));
        let calls = vec![
            record(1, &write, Some(done.clone()), None),
            record(2, &run, Some(done.clone()), Some(json!({ "tree": "abc" }))),
            record(3, &write, Some(done.clone()), None),
            record(4, &write, Some(failed), None),
            record(5, &run, Some(done), Some(json!({ "tree": null }))),
        ];
        assert_eq!(newest_tree(&calls), Err(5), "an older tree has not what the last command did");
        assert_eq!(newest_tree(&calls[..4]), Ok(Some((2, "abc".to_owned()))));
        assert_eq!(newest_tree(&calls[..1]), Ok(None));
        let mut tape = Tape::new(calls, 2);
        let redone: Vec<bool> = [&write, &run, &write, &write, &run]
            .map(|call| matches!(tape.next(call), Ok(Played::Recorded(Recorded::Answered { redo: true, .. }))))
            .into();
        assert_eq!(redone, [false, false, true, false, false]);
    }

    #[test]
    fn a_call_without_an_answer_is_the_last_one() {
        let (write, ask) = (call(Function::WorkspaceWrite, "a"), call(Function::LlmComplete, ""));
        let begun = |call: &CallRequest| Tape::new(vec![record(1, call, None, None)], 0).next(call);
        assert_eq!(begun(&write), Ok(Played::Recorded(Recorded::Begun { sequence: 1 })));
        assert_eq!(begun(&ask), Ok(Played::Uncertain { sequence: 1, tries: 1 }));
        let mut tape = Tape::new(vec![record(1, &write, None, None), record(2, &write, None, None)], 0);
        assert!(matches!(tape.next(&write), Err(JournalError::Unreadable(_))));
    }
}
