//! A conversation put together again from the journal: each request carries all of it, so what is new
//! in one, and the last answer, are the whole.

use serde::Serialize;
use serde_json::Value;

use crate::domain::call::{Cost, Function, HostError};
use crate::domain::llm::{Completion, Message, Request, Speaker};
use crate::registry::CallRecord;

/// What was said, by whom, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Conversation {
    /// Model calls.
    pub(super) turns: u32,
    /// Calls of tools by the model.
    pub(super) tool_calls: usize,
    /// What the model calls cost together; the money is absent when one has no price.
    pub(super) cost: Cost,
    /// Messages; empty unless they were asked for.
    pub(super) messages: Vec<Message>,
    /// Model calls that failed, in words.
    pub(super) errors: Vec<String>,
}

impl Conversation {
    /// Reads the model calls among `calls`.
    pub(super) fn read(calls: &[CallRecord]) -> Self {
        let mut all = Self { cost: Cost { cost_microusd: Some(0), ..Cost::default() }, ..Self::default() };
        let mut sent = 0;
        for call in calls.iter().filter(|call| call.function == Function::LlmComplete) {
            all.turns += 1;
            all.pay(&call.cost);
            if let Ok(request) = serde_json::from_value::<Request>(call.arguments.clone()) {
                // A conversation that became shorter was rewritten: it is shown from its beginning.
                let new = if request.messages.len() >= sent { sent } else { 0 };
                sent = request.messages.len();
                let heard = request.messages.into_iter().skip(new);
                // The answer is there already, as it came.
                let skip = usize::from(new > 0);
                all.messages.extend(
                    heard.enumerate().filter(|(n, m)| *n >= skip || m.speaker != Speaker::Assistant).map(|(_, m)| m),
                );
            }
            all.answer(call.answer.as_ref());
        }
        all
    }

    fn answer(&mut self, answer: Option<&Value>) {
        let Some(answer) = answer else { return self.errors.push("no answer was recorded".to_owned()) };
        if let Some(completion) = answer.get("Ok").and_then(|ok| serde_json::from_value::<Completion>(ok.clone()).ok())
        {
            self.tool_calls += completion.tool_calls.len();
            self.messages.push(Message {
                speaker: Speaker::Assistant,
                text: completion.text,
                tool_calls: completion.tool_calls,
                tool_call_id: None,
                provider_state: None,
            });
        } else {
            let error = answer.get("Err").and_then(|error| serde_json::from_value::<HostError>(error.clone()).ok());
            self.errors
                .push(error.map_or_else(|| "an answer that cannot be read".to_owned(), |error| error.to_string()));
        }
    }

    fn pay(&mut self, cost: &Cost) {
        self.cost.input_tokens += cost.input_tokens;
        self.cost.cached_input_tokens += cost.cached_input_tokens;
        self.cost.output_tokens += cost.output_tokens;
        self.cost.cost_microusd = self.cost.cost_microusd.zip(cost.cost_microusd).map(|(all, this)| all + this);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::id::Digest;

    fn message(speaker: &str, text: &str) -> Value {
        json!({ "speaker": speaker, "text": text })
    }

    fn call(sequence: u64, messages: &[Value], answer: Value) -> CallRecord {
        CallRecord {
            sequence,
            function: Function::LlmComplete,
            digest: Digest::new("0".repeat(64)).unwrap(),
            arguments: json!({ "model": "default", "messages": messages, "tools": [], "tool_choice": "auto",
                "response_format": "text", "max_output_tokens": null }),
            effect: None,
            at: "2026-11-22T10:00:00Z".parse().unwrap(),
            answer: Some(answer),
            answered_at: None,
            cost: Cost { input_tokens: 10, cost_microusd: Some(5), ..Cost::default() },
            tries: 1,
        }
    }

    fn completion(text: &str) -> Value {
        json!({ "Ok": { "text": text, "tool_calls": [], "finish_reason": "stop", "model": "m",
            "usage": { "input_tokens": 1, "cached_input_tokens": 0, "output_tokens": 1, "estimated": false },
            "provider_state": null } })
    }

    #[test]
    fn every_message_stands_once_in_order() {
        let [system, user, one, tool] =
            [message("system", "s"), message("user", "u"), message("assistant", "one"), message("tool", "t")];
        let calls = [
            call(1, &[system.clone(), user.clone()], completion("one")),
            call(2, &[system, user, one, tool], completion("two")),
        ];
        let all = Conversation::read(&calls);
        let texts: Vec<&str> = all.messages.iter().map(|message| message.text.as_str()).collect();
        assert_eq!(texts, ["s", "u", "one", "t", "two"]);
        assert_eq!((all.turns, all.cost.input_tokens, all.cost.cost_microusd), (2, 20, Some(10)));
    }

    #[test]
    fn a_failed_call_is_told_and_hides_nothing() {
        let error = json!({ "Err": { "error": "timed-out", "message": "after 600 s" } });
        let all = Conversation::read(&[call(1, &[message("user", "u")], error)]);
        assert_eq!(all.errors, ["timed out: after 600 s"]);
        assert_eq!(all.messages.len(), 1);
    }
}
