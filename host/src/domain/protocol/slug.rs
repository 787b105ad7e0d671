//! The one sanitiser: any text in, a piece of a git reference out.

use crate::domain::id::TaskId;

/// A slug has at most this many bytes: with the longest spec name and task number the file of a
/// branch still fits into the 255 bytes that file systems allow.
pub const MAX_SLUG_BYTES: usize = 64;

/// Turns a title into the last part of a branch name: lower case, Unicode letters and digits, words
/// joined by `-`. Never empty, always accepted by git, and the same when it is applied again.
///
/// A word that looks like a task number gets `no` before it (`add 2 things` → `add-no2-things`), so
/// that the task's own number stays the last such word of a branch and can be read back.
#[must_use]
pub fn slug(title: &str) -> String {
    let mut out = String::new();
    for word in words(title) {
        let word = if TaskId::new(word.as_str()).is_ok() { format!("no{word}") } else { word };
        let room = MAX_SLUG_BYTES.saturating_sub(out.len() + usize::from(!out.is_empty()));
        let fits = word.len() <= room;
        let piece = if fits { word.as_str() } else { cut(&word, room) };
        // Half an English word says nothing; in text without spaces half of it is all there is.
        let worth = fits || out.is_empty() || !word.is_ascii();
        if worth && !piece.is_empty() && TaskId::new(piece).is_err() {
            if !out.is_empty() {
                out.push('-');
            }
            out.push_str(piece);
        }
        if !fits {
            break;
        }
    }
    if out.is_empty() {
        return format!("h{:08x}", fold(fnv1a(title.as_bytes())));
    }
    out
}

/// Runs of letters and digits, in lower case.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for c in text.chars().flat_map(char::to_lowercase) {
        let last = words.last().is_some_and(|w| !w.is_empty());
        if c.is_alphanumeric() || (is_mark(c) && last) {
            if let Some(word) = words.last_mut() {
                word.push(c);
            }
        } else if last && !is_joiner(c) {
            words.push(String::new());
        }
    }
    words.retain(|w| !w.is_empty());
    words
}

/// Accents and voicing marks of decomposed text, as macOS writes it into file names.
const fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{3099}' | '\u{309a}')
}

/// Invisible, and no end of a word.
const fn is_joiner(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}')
}

fn cut(word: &str, room: usize) -> &str {
    &word[..word.floor_char_boundary(room)]
}

/// FNV-1a, 64 bits: names text that has no letters, nothing else.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

const fn fold(hash: u64) -> u64 {
    (hash >> 32) ^ (hash & 0xffff_ffff)
}
