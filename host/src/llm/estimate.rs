//! How many tokens a text probably has, for reservations and for servers that report no usage.

use crate::domain::llm::{Completion, Request, ToolChoice};

/// Characters of ASCII text in one token, on the low side: a reservation should cover.
const ASCII_CHARS_PER_TOKEN: u64 = 3;
/// What role, separators and ids of one message cost.
const MESSAGE_TOKENS: u64 = 6;
/// What the frame of one tool costs.
const TOOL_TOKENS: u64 = 12;

/// Tokens of a text. Outside ASCII one character counts as one token.
#[must_use]
pub fn text_tokens(text: &str) -> u64 {
    let (ascii, wide) = text
        .chars()
        .fold((0_u64, 0_u64), |(ascii, wide), c| if c.is_ascii() { (ascii + 1, wide) } else { (ascii, wide + 1) });
    ascii.div_ceil(ASCII_CHARS_PER_TOKEN) + wide
}

/// Tokens that a request sends.
#[must_use]
pub fn request_tokens(request: &Request) -> u64 {
    let messages: u64 = request
        .messages
        .iter()
        .map(|m| {
            let calls: u64 = m.tool_calls.iter().map(|c| text_tokens(&c.name) + text_tokens(&c.arguments)).sum();
            let state = m.provider_state.as_deref().map_or(0, text_tokens);
            MESSAGE_TOKENS + text_tokens(&m.text) + calls + state
        })
        .sum();
    let tools: u64 = if request.tool_choice == ToolChoice::None {
        0
    } else {
        request
            .tools
            .iter()
            .map(|t| TOOL_TOKENS + text_tokens(&t.name) + text_tokens(&t.description) + text_tokens(&t.parameters))
            .sum()
    };
    messages + tools
}

/// Tokens that an answer has.
#[must_use]
pub fn completion_tokens(completion: &Completion) -> u64 {
    let calls: u64 = completion.tool_calls.iter().map(|c| text_tokens(&c.name) + text_tokens(&c.arguments)).sum();
    text_tokens(&completion.text) + calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascii_and_wide_text_are_counted_apart() {
        for (text, tokens) in [("", 0), ("abc", 1), ("abcd", 2), ("日本語", 3), ("a日", 2)] {
            assert_eq!(text_tokens(text), tokens, "{text}");
        }
    }
}
