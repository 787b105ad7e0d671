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

/// Marks that belong to the letter before them and are no letters themselves, by first and last of each range:
/// accents of decomposed text (as macOS writes it into file names), vowel points, the viramas and tones without
/// which words of India, Thailand, Tibet, Myanmar and Cambodia would be cut into pieces.
const MARKS: &[(char, char)] = &[
    ('\u{300}', '\u{36f}'),
    ('\u{483}', '\u{487}'),
    ('\u{591}', '\u{5bd}'),
    ('\u{5bf}', '\u{5bf}'),
    ('\u{5c1}', '\u{5c7}'),
    ('\u{610}', '\u{61a}'),
    ('\u{64b}', '\u{65f}'),
    ('\u{6d6}', '\u{6dc}'),
    ('\u{6df}', '\u{6e4}'),
    ('\u{6e7}', '\u{6e8}'),
    ('\u{6ea}', '\u{6ed}'),
    ('\u{730}', '\u{74a}'),
    ('\u{7eb}', '\u{7f3}'),
    ('\u{93c}', '\u{93c}'),
    ('\u{94d}', '\u{94d}'),
    ('\u{951}', '\u{954}'),
    ('\u{9bc}', '\u{9bc}'),
    ('\u{9cd}', '\u{9cd}'),
    ('\u{a3c}', '\u{a3c}'),
    ('\u{a4d}', '\u{a4d}'),
    ('\u{abc}', '\u{abc}'),
    ('\u{acd}', '\u{acd}'),
    ('\u{b3c}', '\u{b3c}'),
    ('\u{b4d}', '\u{b4d}'),
    ('\u{bcd}', '\u{bcd}'),
    ('\u{c3c}', '\u{c3c}'),
    ('\u{c4d}', '\u{c4d}'),
    ('\u{cbc}', '\u{cbc}'),
    ('\u{ccd}', '\u{ccd}'),
    ('\u{d3b}', '\u{d3c}'),
    ('\u{d4d}', '\u{d4d}'),
    ('\u{dca}', '\u{dca}'),
    ('\u{e47}', '\u{e4e}'),
    ('\u{eb8}', '\u{ebc}'),
    ('\u{ec8}', '\u{ece}'),
    ('\u{f71}', '\u{f84}'),
    ('\u{f86}', '\u{f87}'),
    ('\u{1037}', '\u{103a}'),
    ('\u{135d}', '\u{135f}'),
    ('\u{17b4}', '\u{17d3}'),
    ('\u{17dd}', '\u{17dd}'),
    ('\u{1ab0}', '\u{1ace}'),
    ('\u{1dc0}', '\u{1dff}'),
    ('\u{302a}', '\u{302f}'),
    ('\u{3099}', '\u{309a}'),
];

fn is_mark(c: char) -> bool {
    c >= '\u{300}' && MARKS.iter().any(|(first, last)| (*first..=*last).contains(&c))
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
