//! Other people's words in our errors: without the configured secrets, and short.

use crate::domain::mask::Mask;

/// `text` without secrets and control characters, cut to `max_chars` characters. Cuts after masking,
/// because half a secret would not be recognised.
pub(crate) fn excerpt(mask: &Mask, text: &str, max_chars: usize) -> String {
    let clean = mask.apply(text);
    let clean = clean.trim();
    let mut out: String = clean.chars().take(max_chars).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if clean.chars().nth(max_chars).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_excerpt_never_shows_a_part_of_a_secret(
            before in "[a-z ]{0,30}", after in "[a-z ]{0,30}", max in 0_usize..60,
        ) {
            let mask = Mask::new(["SK-0123456789"]);
            let out = excerpt(&mask, &format!("{before}SK-0123456789{after}"), max);
            prop_assert!(!out.contains("SK-") && !out.contains('0'));
            prop_assert!(out.chars().count() <= max + 1);
        }
    }
}
