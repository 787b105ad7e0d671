//! References in metadata lines: lists of task numbers and of requirement numbers.

use std::cmp::Ordering;

/// What `_Depends:_` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TaskRef {
    One(String),
    Range(String, String),
    /// Neither a number nor a way to say "none".
    Unreadable(String),
}

/// What `_Requirements:_` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RequirementRef<'a> {
    All,
    One(&'a str),
    Range(&'a str, &'a str),
    /// Says that there is none, or names something that is no requirement, such as a property.
    Nothing,
    /// Words that name nothing.
    Unreadable,
}

const NONE: &[&str] = &[
    "none", "n/a", "na", "-", "—", "–", "nothing", "no", "null", "なし", "無し", "無", "无", "없음", "нет", "ninguno",
];

const ALL: &[&str] = &["all", "すべて", "全て", "全部", "所有", "모두", "все", "todos", "alle", "tous"];

/// Whether the text says that there is none.
pub(crate) fn says_none(text: &str) -> bool {
    let text = text.trim().trim_end_matches(['.', '。']).to_lowercase();
    text.is_empty() || NONE.contains(&text.as_str())
}

/// `text` without what stands in brackets of the two round kinds, which are remarks or link targets.
fn without_remarks(text: &str) -> String {
    let mut depth = 0_usize;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '(' | '（' => depth += 1,
            ')' | '）' if depth > 0 => depth -= 1,
            _ if depth == 0 => out.push(c),
            _ => {}
        }
    }
    out
}

fn list(text: &str) -> Vec<String> {
    let mut plain = without_remarks(text);
    for word in [" and ", " & "] {
        if plain.contains(word) {
            plain = plain.replace(word, ",");
        }
    }
    plain
        .split([',', ';', '、', '，', '；', '|'])
        .map(|token| {
            let token = token.trim().trim_end_matches(['.', '。']);
            token.trim_matches(['`', '[', ']', '*', '#', '"']).trim().to_owned()
        })
        .filter(|token| !token.is_empty())
        .collect()
}

/// The parts of a value that is nothing but numbers and commas, as most are; what else may stand in one is
/// read with more trouble.
fn plain_numbers(value: &str, is_number: fn(&str) -> bool) -> Option<impl Iterator<Item = &str>> {
    let parts = || value.split(',').map(str::trim);
    parts().all(is_number).then(parts)
}

fn strip_words<'a>(token: &'a str, words: &[&str]) -> &'a str {
    let mut token = token;
    'again: loop {
        for word in words {
            if let Some(head) = token.get(..word.len())
                && head.eq_ignore_ascii_case(word)
            {
                let rest = &token[word.len()..];
                let ends = word.chars().next_back().is_some_and(|c| !c.is_ascii_alphabetic());
                if ends || rest.starts_with(|c: char| !c.is_ascii_alphabetic() && c != '-' && !c.is_ascii_digit()) {
                    token = rest.trim_start_matches([' ', '#', ':', '：', '.']);
                    continue 'again;
                }
            }
        }
        return token.trim();
    }
}

fn is_task_number(text: &str) -> bool {
    let body = text.strip_suffix(|c: char| c.is_ascii_lowercase()).unwrap_or(text);
    !body.is_empty() && body.split('.').all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
}

/// `1.2`, `FR-1.1`, `R3`, `4A.3`
fn is_requirement_number(text: &str) -> bool {
    let letters = text.bytes().take_while(u8::is_ascii_alphabetic).count();
    if letters > 8 {
        return false;
    }
    let rest = &text[letters..];
    let rest = if letters > 0 { rest.strip_prefix(['-', '_']).unwrap_or(rest) } else { rest };
    !rest.is_empty()
        && rest.split('.').all(|part| {
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            let tail = &part[digits..];
            digits > 0 && tail.len() <= 1 && tail.bytes().all(|b| b.is_ascii_alphabetic())
        })
}

/// The two ends of a range, when both sides of a dash (or `to`, `..`) pass `check`.
fn range(token: &str, check: fn(&str) -> bool) -> Option<(&str, &str)> {
    for dash in ["...", "..", " to ", "–", "—", "〜", "～", "~", "-"] {
        for (at, _) in token.match_indices(dash) {
            let (from, to) = (token[..at].trim(), token[at + dash.len()..].trim());
            if check(from) && check(to) {
                return Some((from, to));
            }
        }
    }
    None
}

/// The tasks that a `_Depends:_` value names. Empty: none.
pub(crate) fn task_refs(value: &str) -> Vec<TaskRef> {
    if let Some(plain) = plain_numbers(value, is_task_number) {
        return plain.map(|number| TaskRef::One(number.to_owned())).collect();
    }
    if says_none(value) {
        return Vec::new();
    }
    let mut out = Vec::new();
    for token in list(value) {
        let token = strip_words(&token, &["tasks", "task", "タスク", "任务", "#"]);
        let token = token.strip_suffix('.').unwrap_or(token).trim();
        if says_none(token) {
            continue;
        }
        if is_task_number(token) {
            out.push(TaskRef::One(token.to_owned()));
        } else if let Some((from, to)) = range(token, is_task_number) {
            out.push(TaskRef::Range(from.to_owned(), to.to_owned()));
        } else if token.split_whitespace().all(is_task_number) {
            out.extend(token.split_whitespace().map(|t| TaskRef::One(t.to_owned())));
        } else {
            out.push(TaskRef::Unreadable(token.chars().take(60).collect()));
        }
    }
    out
}

/// The references of a `_Requirements:_` value as cleaned texts, in order, without repetition.
pub(crate) fn requirement_tokens(value: &str) -> Vec<String> {
    const WORDS: &[&str] =
        &["requirements", "requirement", "reqs", "req", "要件", "需求", "要求", "요구사항", "criteria"];
    let mut out: Vec<String> = Vec::new();
    if let Some(plain) = plain_numbers(value, is_requirement_number) {
        for number in plain {
            if !out.iter().any(|other| other == number) {
                out.push(number.to_owned());
            }
        }
        return out;
    }
    for token in list(value) {
        if is_requirement_number(&token) {
            if !out.contains(&token) {
                out.push(token);
            }
            continue;
        }
        let token = strip_words(&token, WORDS);
        let token = strip_words(token, &["supports"]);
        let token = token.strip_suffix(['.', '。']).unwrap_or(token);
        let token = match range(token, |t| is_requirement_number(strip_words(t, WORDS))) {
            Some((from, to)) => format!("{}-{}", strip_words(from, WORDS), strip_words(to, WORDS)),
            None => token.chars().take(120).collect(),
        };
        if !token.is_empty() && !out.contains(&token) {
            out.push(token);
        }
    }
    out
}

/// What one token of [`requirement_tokens`] means.
pub(crate) fn requirement_ref(token: &str) -> RequirementRef<'_> {
    if is_requirement_number(token) {
        return RequirementRef::One(token);
    }
    if says_none(token) {
        return RequirementRef::Nothing;
    }
    let lower = token.to_lowercase();
    if ALL.iter().any(|word| lower == *word || lower.strip_prefix(word).is_some_and(|r| r.starts_with([' ', 'の']))) {
        return RequirementRef::All;
    }
    if let Some((from, to)) = range(token, is_requirement_number) {
        return RequirementRef::Range(from, to);
    }
    let other = ["propert", "design", "§", "implied", "属性", "プロパティ", "設計", "设计"];
    if other.iter().any(|word| lower.starts_with(word)) {
        return RequirementRef::Nothing;
    }
    RequirementRef::Unreadable
}

/// Compares numbers part by part, so that 2 comes before 10; letters before them compare as text.
pub(crate) fn natural(a: &str, b: &str) -> Ordering {
    fn key(text: &str) -> (String, Vec<(u64, String)>) {
        let letters = text.bytes().take_while(|b| !b.is_ascii_digit()).count();
        let (head, rest) = text.split_at_checked(letters).unwrap_or((text, ""));
        let parts = rest
            .split('.')
            .map(|part| {
                let digits = part.bytes().take_while(u8::is_ascii_digit).count();
                (part[..digits].parse().unwrap_or(u64::MAX), part[digits..].to_uppercase())
            })
            .collect();
        (head.to_uppercase(), parts)
    }
    key(a).cmp(&key(b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dependencies_are_read_in_every_spelling() {
        let one = |t: &str| TaskRef::One(t.to_owned());
        let table: &[(&str, Vec<TaskRef>)] = &[
            ("1, 2.3", vec![one("1"), one("2.3")]),
            ("none", vec![]),
            ("None.", vec![]),
            ("なし", vec![]),
            ("", vec![]),
            ("Task 1, Tasks 2 and 3", vec![one("1"), one("2"), one("3")]),
            ("1.1 (schema), 7.3.5a", vec![one("1.1"), one("7.3.5a")]),
            ("1.1–1.3", vec![TaskRef::Range("1.1".into(), "1.3".into())]),
            ("1.1、2.1", vec![one("1.1"), one("2.1")]),
            ("1 2 3", vec![one("1"), one("2"), one("3")]),
            ("`1.1`.", vec![one("1.1")]),
            ("#4", vec![one("4")]),
            ("the parser", vec![TaskRef::Unreadable("the parser".into())]),
        ];
        for (value, expected) in table {
            assert_eq!(task_refs(value), *expected, "{value:?}");
        }
    }

    #[test]
    fn requirement_references_are_read_in_every_spelling() {
        let table: &[(&str, &[&str])] = &[
            ("1.1, 2.3", &["1.1", "2.3"]),
            ("Requirement 1, 2", &["1", "2"]),
            ("Requirements 1.1, 1.2", &["1.1", "1.2"]),
            ("Req 9.2, Req 9.4; Design §Layout", &["9.2", "9.4", "Design §Layout"]),
            ("Req 1.1–1.4", &["1.1-1.4"]),
            ("1.1–6.3 (all)", &["1.1-6.3"]),
            ("All (quality assurance)", &["All"]),
            ("[R1.3](x#y)", &["R1.3"]),
            ("FR-1.1, NFR-2.1", &["FR-1.1", "NFR-2.1"]),
            ("REQ-1", &["REQ-1"]),
            ("4A.3", &["4A.3"]),
            ("1.1, 1.1", &["1.1"]),
        ];
        for (value, expected) in table {
            assert_eq!(requirement_tokens(value), *expected, "{value:?}");
        }
        assert_eq!(requirement_ref("All"), RequirementRef::All);
        assert_eq!(requirement_ref("All requirements"), RequirementRef::All);
        assert_eq!(requirement_ref("全部"), RequirementRef::All);
        assert_eq!(requirement_ref("FR-1.1-FR-1.3"), RequirementRef::Range("FR-1.1", "FR-1.3"));
        assert_eq!(requirement_ref("2.1.3"), RequirementRef::One("2.1.3"));
        assert_eq!(requirement_ref("N/A"), RequirementRef::Nothing);
        assert_eq!(requirement_ref("Property 2"), RequirementRef::Nothing);
        assert_eq!(requirement_ref("Setup"), RequirementRef::Unreadable);
    }

    #[test]
    fn numbers_compare_by_their_parts() {
        assert_eq!(natural("2.2", "2.10"), Ordering::Less);
        assert_eq!(natural("FR-2", "FR-10"), Ordering::Less);
        assert_eq!(natural("4A.1", "4.9"), Ordering::Greater);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in ".{0,80}") {
            let _ = task_refs(&text);
            for token in requirement_tokens(&text) {
                let _ = requirement_ref(&token);
            }
            let _ = natural(&text, "1.1");
        }
    }
}
