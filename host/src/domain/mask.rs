//! Hides configured secret values in text that leaves the host. Only literal values: what merely
//! looks like a secret is left alone, so that source code survives.

use std::collections::BTreeSet;
use std::fmt;

use aho_corasick::AhoCorasick;

/// Replaces every occurrence of some values by [`Mask::MARKER`], in time linear in the text.
#[derive(Clone, Default)]
pub struct Mask {
    values: Option<AhoCorasick>,
}

impl Mask {
    /// What stands where a value stood. Text that brings it back must not be written to a file: the
    /// value it stands for would be lost.
    pub const MARKER: &'static str = "«masked»";

    /// Values with fewer characters are not masked: they would tear holes into ordinary words.
    pub const MIN_CHARS: usize = 8;

    /// A mask for these values. White space around a value is no part of it; repeated values and
    /// those shorter than [`Mask::MIN_CHARS`] are left out.
    #[must_use]
    pub fn new<V: AsRef<str>>(values: impl IntoIterator<Item = V>) -> Self {
        let values: BTreeSet<String> = values
            .into_iter()
            .map(|v| v.as_ref().trim().to_owned())
            .filter(|v| v.chars().count() >= Self::MIN_CHARS)
            .collect();
        if values.is_empty() {
            return Self::default();
        }
        let automaton =
            AhoCorasick::new(values).expect("environment and configuration hold far less than 2 GiB of secrets");
        Self { values: Some(automaton) }
    }

    /// Whether there is nothing to hide.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_none()
    }

    /// The text without the values. Values that overlap in it are hidden together, so that no end of
    /// one of them stays behind.
    #[must_use]
    pub fn apply(&self, text: &str) -> String {
        let Some(values) = &self.values else { return text.to_owned() };
        let mut out = String::with_capacity(text.len());
        let mut kept_to = 0;
        for (start, end) in covered(values, text.as_bytes()) {
            out.push_str(&text[kept_to..start]);
            out.push_str(Self::MARKER);
            kept_to = end;
        }
        out.push_str(&text[kept_to..]);
        out
    }

    /// Ranges of bytes that belong to some value, joined where they overlap, in order: for bytes that
    /// are not text yet, or that lie in several pieces.
    #[must_use]
    pub fn ranges(&self, bytes: &[u8]) -> Vec<(usize, usize)> {
        self.values.as_ref().map_or_else(Vec::new, |values| covered(values, bytes))
    }

    /// The longest value, in bytes; 0 when there is none.
    #[must_use]
    pub fn longest_bytes(&self) -> usize {
        self.values.as_ref().map_or(0, AhoCorasick::max_pattern_len)
    }

    /// Whether a value stands in the text.
    #[must_use]
    pub fn finds_in(&self, text: &str) -> bool {
        self.values.as_ref().is_some_and(|values| values.is_match(text))
    }

    /// Whether the marker stands in the text.
    #[must_use]
    pub fn contains_marker(text: &str) -> bool {
        text.contains(Self::MARKER)
    }
}

/// Ranges of bytes that belong to some value, joined where they overlap, in order. Matches arrive by
/// their end, so a long one may swallow several that came before it.
fn covered(values: &AhoCorasick, text: &[u8]) -> Vec<(usize, usize)> {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for found in values.find_overlapping_iter(text) {
        let (mut start, end) = (found.start(), found.end());
        while let Some(&(earlier, until)) = ranges.last() {
            if until <= start {
                break;
            }
            start = start.min(earlier);
            ranges.pop();
        }
        ranges.push((start, end));
    }
    ranges
}

/// Never shows the values.
impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.values.as_ref().map_or(0, AhoCorasick::patterns_len);
        f.debug_struct("Mask").field("values", &count).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_hidden_and_nothing_else() {
        let mask = Mask::new(["hunter2-secret", "short", "  sk-0123456789\n", "hunter2-secret"]);
        let rows = [
            ("key=hunter2-secret;", "key=«masked»;"),
            ("short words stay", "short words stay"),
            ("sk-0123456789sk-0123456789", "«masked»«masked»"),
            ("sk-012345678", "sk-012345678"),
            ("", ""),
        ];
        for (text, expected) in rows {
            assert_eq!(mask.apply(text), expected);
        }
        assert!(Mask::contains_marker(&mask.apply("x hunter2-secret")));
        assert!(Mask::new(["short"]).is_empty());
    }

    #[test]
    fn overlapping_and_nested_values_leave_no_end_behind() {
        let mask = Mask::new(["abcdefgh", "efghijkl", "cdefghij", "abcdefghXYZ"]);
        assert_eq!(mask.apply("-abcdefghijkl-"), "-«masked»-");
        assert_eq!(mask.apply("-abcdefghXYZ-"), "-«masked»-");
        assert_eq!(mask.apply("-abcdefghX-"), "-«masked»X-");
    }

    #[test]
    fn characters_count_not_bytes() {
        assert!(Mask::new(["秘密秘密秘密秘"]).is_empty());
        assert_eq!(Mask::new(["秘密秘密秘密秘密"]).apply("鍵は秘密秘密秘密秘密です"), "鍵は«masked»です");
    }

    #[test]
    fn debug_shows_no_value() {
        assert_eq!(format!("{:?}", Mask::new(["hunter2-secret"])), "Mask { values: 1 }");
    }

    proptest! {
        #[test]
        fn no_value_survives(
            values in prop::collection::vec("[ab]{8,12}", 1..6),
            text in prop::collection::vec("[ab]{0,6}|.{0,6}", 0..20),
        ) {
            let mut text = text.concat();
            for value in &values {
                text.push_str(value);
                text.push('-');
            }
            let mask = Mask::new(&values);
            let masked = mask.apply(&text);
            for value in &values {
                prop_assert!(!masked.contains(value.as_str()));
            }
            prop_assert_eq!(mask.apply(&masked), masked.clone());
            // What is left is the text, with the values cut out.
            let mut rest = text.as_str();
            for piece in masked.split(Mask::MARKER) {
                let at = rest.find(piece);
                prop_assert!(at.is_some());
                rest = &rest[at.unwrap() + piece.len()..];
            }
        }
    }
}
