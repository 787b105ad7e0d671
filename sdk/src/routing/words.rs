//! Finding the dictionary's words in a text: whole words for Latin script, parts of words for Japanese,
//! which writes no spaces. Longer forms go first and use up their text, so that "unit test" is not also
//! "test"; a concept counts once however often and in however many forms it occurs.

use std::cmp::Reverse;

use super::Score;
use super::dictionary::ROLES;

/// Characters of an issue that are looked at; what it is about stands at its beginning.
const MAX_TEXT_CHARS: usize = 20_000;

/// One form of a concept, with the indices of its role and of the concept within the role.
struct Form {
    text: &'static str,
    role: usize,
    concept: usize,
}

/// Points of each role that a text names, by the dictionary's English and Japanese words, in its order.
#[must_use]
pub fn word_scores(text: &str) -> Vec<Score> {
    let mut text = folded(text);
    let mut found: Vec<(usize, usize, &str)> = Vec::new();
    for form in forms() {
        if take(&mut text, form.text) && !found.iter().any(|(r, c, _)| (*r, *c) == (form.role, form.concept)) {
            found.push((form.role, form.concept, form.text));
        }
    }
    found.sort_unstable();
    ROLES
        .iter()
        .enumerate()
        .filter_map(|(index, (role, _))| {
            let matched: Vec<String> =
                found.iter().filter(|(r, ..)| *r == index).map(|(.., word)| (*word).to_owned()).collect();
            let points = u32::try_from(matched.len()).map_or(f64::MAX, f64::from);
            (!matched.is_empty()).then(|| Score { role: (*role).to_owned(), points, matched })
        })
        .collect()
}

/// Whether a text has a word or phrase, as the dictionary's are found: a Latin one only whole, `-` and `_`
/// as spaces, in whatever case.
#[must_use]
pub fn has_words(text: &str, words: &str) -> bool {
    let words: String = words.trim().to_lowercase().replace(['-', '_'], " ");
    !words.is_empty() && take(&mut folded(text), &words)
}

fn folded(text: &str) -> Vec<char> {
    let lower = text.chars().take(MAX_TEXT_CHARS).flat_map(char::to_lowercase);
    lower.map(|c| if c == '-' { ' ' } else { c }).collect()
}

/// Every form, the longest first.
fn forms() -> Vec<Form> {
    let mut forms: Vec<Form> = ROLES
        .iter()
        .enumerate()
        .flat_map(|(role, (_, concepts))| {
            concepts.iter().enumerate().flat_map(move |(concept, texts)| {
                texts.split(',').map(move |text| Form { text: text.trim(), role, concept })
            })
        })
        .collect();
    forms.sort_by_key(|form| (Reverse(form.text.chars().count()), form.role, form.concept));
    forms
}

/// Blank out every occurrence of `form`; true when there was one.
fn take(text: &mut [char], form: &str) -> bool {
    let form: Vec<char> = form.chars().collect();
    let latin = form.iter().all(char::is_ascii);
    let mut taken = false;
    let mut at = 0;
    while at + form.len() <= text.len() {
        match match_end(text, at, &form, latin) {
            Some(end) => {
                // Not a space: what stood apart must not become one word or phrase.
                text[at..end].fill('\0');
                taken = true;
                at = end;
            }
            None => at += 1,
        }
    }
    taken
}

/// Where an occurrence at `at` ends. Latin words must stand alone, and may have a plural s.
fn match_end(text: &[char], at: usize, form: &[char], latin: bool) -> Option<usize> {
    let end = at + form.len();
    // The first letter decides almost every time, and this is the innermost loop.
    if text.get(at) != form.first() || text.get(at..end)? != form {
        return None;
    }
    if !latin {
        return Some(end);
    }
    let word_at = |index: usize| text.get(index).is_some_and(|c| is_latin_word(*c));
    if at > 0 && word_at(at - 1) {
        None
    } else if !word_at(end) {
        Some(end)
    } else {
        (text.get(end) == Some(&'s') && !word_at(end + 1)).then_some(end + 1)
    }
}

/// Part of a word of a script that puts spaces between words. Japanese letters are none: in `APIを作る`
/// the first word ends before them.
fn is_latin_word(c: char) -> bool {
    c == '_'
        || (c.is_alphanumeric()
            && !matches!(c, '\u{2e80}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{ff66}'..='\u{ff9d}' | '\u{20000}'..='\u{3ffff}'))
}
