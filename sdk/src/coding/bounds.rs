//! Bounds on what the model is shown. Lengths count characters, so that no text is cut inside one.

/// Characters of one tool's reply.
pub(super) const MAX_REPLY_CHARS: usize = 16_000;
/// Characters of one document, report or failure in the assignment.
pub(super) const MAX_SECTION_CHARS: usize = 48_000;
/// Characters of a list of files in the prompt.
pub(super) const MAX_FILES_CHARS: usize = 8_000;

/// The head and the tail of `text` in about `limit` characters, with the count of what was left out
/// between. Two thirds go to the head; the ends of logs matter as well.
pub(super) fn head_and_tail(text: &str, limit: usize) -> String {
    let total = text.chars().count();
    if total <= limit {
        return text.to_owned();
    }
    let tail = limit / 3;
    let head = limit - tail;
    let head_end = byte_of(text, head);
    let tail_start = byte_of(text, total - tail);
    format!("{}\n[… {} characters left out …]\n{}", &text[..head_end], total - limit, &text[tail_start..])
}

/// As many whole lines of `text` as fit into `limit` characters, and how many lines that is. `None`
/// when not even the first one fits.
pub(super) fn whole_lines(text: &str, limit: usize) -> Option<(&str, usize)> {
    let end = byte_of(text, limit);
    if end == text.len() {
        return Some((text, text.lines().count()));
    }
    let cut = text[..end].rfind('\n')? + 1;
    Some((&text[..cut], text[..cut].lines().count()))
}

/// The start of `text` on one line in at most `limit` characters.
pub(super) fn shorten(text: &str, limit: usize) -> String {
    let line: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(limit + 1).collect();
    match line.char_indices().nth(limit.saturating_sub(1)) {
        Some((end, last)) if end + last.len_utf8() < line.len() => format!("{}…", &line[..end]),
        _ => line,
    }
}

/// Byte position of the character with this index, or the text's length.
fn byte_of(text: &str, index: usize) -> usize {
    text.char_indices().nth(index).map_or(text.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_keeps_its_ends_and_tells_what_is_missing() {
        assert_eq!(head_and_tail("abc", 3), "abc");
        assert_eq!(head_and_tail("abcdefghij", 6), "abcd\n[… 4 characters left out …]\nij");
        assert_eq!(head_and_tail("あいうえおか", 3), "あい\n[… 3 characters left out …]\nか");
    }

    #[test]
    fn files_are_cut_between_lines() {
        assert_eq!(whole_lines("a\nb\n", 10), Some(("a\nb\n", 2)));
        assert_eq!(whole_lines("aa\nbb\ncc", 6), Some(("aa\nbb\n", 2)));
        assert_eq!(whole_lines("aa\nbb\ncc", 5), Some(("aa\n", 1)));
        assert_eq!(whole_lines("aaaaaa", 3), None);
    }

    #[test]
    fn shortened_text_is_one_line_and_never_longer() {
        assert_eq!(shorten(" a\nb ", 9), "a b");
        assert_eq!(shorten("abcd", 4), "abcd");
        assert_eq!(shorten("abcde", 4), "abc…");
        assert_eq!(shorten("あいうえお", 3), "あい…");
    }
}
