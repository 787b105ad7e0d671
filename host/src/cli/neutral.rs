//! Text of models, plugins and repositories made harmless for a terminal: control characters are
//! shown as pictures of themselves, and nothing can turn the direction of what follows.

/// One line: line breaks and tabs become spaces.
pub(crate) fn line(text: &str) -> String {
    let text = text.trim_end_matches(['\n', '\r']);
    text.chars().map(|c| if matches!(c, '\n' | '\r' | '\t') { ' ' } else { shown(c) }).collect()
}

/// Several lines: line breaks and tabs stay.
pub(crate) fn block(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    text.chars().map(|c| if matches!(c, '\n' | '\t') { c } else { shown(c) }).collect()
}

/// JSON text: what JSON lets through as it is gets escaped. The value stays the same, because such
/// characters stand in strings only.
pub(crate) fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && is_dangerous(c) {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

fn shown(c: char) -> char {
    match u32::from(c) {
        _ if !is_dangerous(c) => c,
        code @ 0..=0x1f => char::from_u32(0x2400 + code).unwrap_or('\u{fffd}'),
        0x7f => '\u{2421}',
        _ => '\u{fffd}',
    }
}

/// Control characters, and those that change the direction or the line of what follows.
fn is_dangerous(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_escape_sequence_is_shown_and_not_obeyed() {
        assert_eq!(line("a\u{1b}[31mb\n"), "a␛[31mb");
        assert_eq!(block("a\r\nb\rc\u{9b}2J\u{202e}d\u{7f}"), "a\nb␍c\u{fffd}2J\u{fffd}d␡");
        assert_eq!(line("呪文\tを\n唱える"), "呪文 を 唱える");
    }

    #[test]
    fn escaped_json_has_the_same_value() {
        let value = serde_json::json!({ "a": "x\u{7f}\u{9b}\u{202e}呪\n" });
        let text = json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(!text.chars().any(|c| c != '\n' && is_dangerous(c)), "{text:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }

    proptest! {
        #[test]
        fn nothing_dangerous_is_left(text in any::<String>()) {
            prop_assert!(!line(&text).chars().any(is_dangerous));
            prop_assert!(!block(&text).chars().any(|c| is_dangerous(c) && !matches!(c, '\n' | '\t')));
        }
    }
}
