//! Bounded extracts of long texts: the beginning and the end, which is where tools say what is wrong.

/// The text itself when it has at most `head + tail` bytes, else its first `head` and last `tail`
/// bytes (fewer where a character would be split), with a line between them that counts what is
/// missing.
#[must_use]
pub fn excerpt(text: &str, head: usize, tail: usize) -> String {
    if text.len() <= head.saturating_add(tail) {
        return text.to_owned();
    }
    let head_end = text.floor_char_boundary(head);
    let tail_start = text.ceil_char_boundary(text.len() - tail);
    let missing = tail_start - head_end;
    format!("{}\n… {missing} bytes left out …\n{}", &text[..head_end], &text[tail_start..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::excerpt;

    #[test]
    fn head_and_tail_stay() {
        assert_eq!(excerpt("abcdef", 3, 3), "abcdef");
        assert_eq!(excerpt("abcdefg", 3, 3), "abc\n… 1 bytes left out …\nefg");
        assert_eq!(excerpt("呪文呪文", 4, 4), "呪\n… 6 bytes left out …\n文");
    }

    proptest! {
        #[test]
        fn every_extract_is_bounded(text in any::<String>(), head in 0..50_usize, tail in 0..50_usize) {
            let out = excerpt(&text, head, tail);
            prop_assert!(out.len() <= head + tail + 50);
            let first = text.floor_char_boundary(head);
            prop_assert!(out.starts_with(&text[..first]));
        }
    }
}
