//! How requirements, their numbers and their sentences are spelled, in the languages that are in use.

use super::super::line::Heading;

const WORDS: &[&str] = &[
    "Requirement",
    "requirement",
    "REQUIREMENT",
    "Req",
    "REQ",
    "需求",
    "要求",
    "要件",
    "요구사항",
    "Требование",
    "Requisito",
    "Anforderung",
    "Exigence",
];

/// What follows a word that means "requirement".
pub(super) fn requirement_word(text: &str) -> Option<&str> {
    let rest = WORDS.iter().find_map(|word| text.strip_prefix(word))?;
    rest.trim_start().starts_with(|c: char| c.is_ascii_digit()).then(|| rest.trim_start())
}

/// Number and title of a requirement's heading.
pub(super) fn requirement_heading(found: Heading<'_>) -> Option<(&str, &str)> {
    if found.level < 2 {
        return None;
    }
    let said = requirement_word(found.text);
    let text = said.unwrap_or(found.text);
    let (id, rest) = number_token(text)?;
    let labelled = id.starts_with(|c: char| c.is_ascii_alphabetic());
    let marked = rest.starts_with(['.', ':', '：', ')', '．', '、']);
    if said.is_none() && !labelled && !marked && !id.contains('.') {
        return None;
    }
    let title = rest.trim_start_matches(['.', ':', '：', ')', '．', '、', ' ', '\t', '-', '–', '—']).trim();
    Some((id, title))
}

/// `1.2`, `4A`, `FR-1.1` at the start of a text, and the rest.
pub(super) fn number_token(text: &str) -> Option<(&str, &str)> {
    let bytes = text.as_bytes();
    let letters = bytes.iter().take_while(|b| b.is_ascii_uppercase()).count();
    let mut end = letters;
    if letters > 6 || (letters > 0 && bytes.get(end) != Some(&b'-')) {
        return None;
    }
    end += usize::from(letters > 0);
    let start = end;
    loop {
        let digits = bytes[end..].iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        end += digits;
        let letter = bytes.get(end).is_some_and(u8::is_ascii_uppercase)
            && !bytes.get(end + 1).is_some_and(u8::is_ascii_alphanumeric);
        end += usize::from(letter);
        if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
            end += 1;
        } else {
            break;
        }
    }
    let ends = !bytes.get(end).is_some_and(u8::is_ascii_alphanumeric);
    (end > start && end <= 40 && ends).then(|| (&text[..end], &text[end..]))
}

/// `1.1 WHEN …`, `**FR-2.1.1**: …`, `[ ] AC-1.1 …`: the number and the sentence.
pub(super) fn written_number(text: &str) -> Option<(String, String)> {
    let text = match text.as_bytes() {
        [b'[', _, b']', ..] => text[3..].trim_start(),
        _ => text,
    };
    let (bold, inner) = text.strip_prefix("**").map_or((false, text), |inner| (true, inner));
    let inner = inner.strip_prefix("AC ").unwrap_or(inner);
    let (id, rest) = number_token(inner)?;
    if !id.contains('.') && !id.contains('-') {
        return None;
    }
    let rest = rest.strip_prefix([':', '：', '.', ')']).unwrap_or(rest);
    let rest = if bold { rest.replacen("**", "", 1) } else { rest.to_owned() };
    let rest = rest.trim_start_matches([':', '：', '.']);
    (rest.is_empty() || rest.starts_with(char::is_whitespace)).then(|| (id.to_owned(), rest.trim().to_owned()))
}

pub(super) fn bullet(text: &str) -> Option<&str> {
    text.strip_prefix("- ").or_else(|| text.strip_prefix("* ")).or_else(|| text.strip_prefix("+ ")).map(str::trim)
}

/// The text of an item of an ordered list.
pub(super) fn ordered(text: &str) -> Option<&str> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let rest = text[digits..].strip_prefix(['.', ')'])?;
    (digits > 0 && digits < 10 && rest.starts_with([' ', '\t'])).then(|| rest.trim())
}

pub(super) fn is_criteria_label(text: &str) -> bool {
    let plain = text.trim_matches(['*', '#', ' ', ':', '：', '_']);
    let lower = plain.to_lowercase();
    lower.starts_with("acceptance criteria")
        || ["受け入れ基準", "受け入れ条件", "受入基準", "受入条件", "验收标准", "인수 기준", "критерии приёмки"]
            .iter()
            .any(|w| lower.starts_with(w))
}

pub(super) fn is_story(text: &str) -> bool {
    let lower = text.trim_start_matches(['*', '-', ' ', '_']).to_lowercase();
    let words = [
        "user story",
        "objective",
        "ユーザーストーリー",
        "目的",
        "用户故事",
        "사용자 스토리",
        "ユーザストーリー",
        "as a ",
        "as an ",
    ];
    words.iter().any(|word| lower.starts_with(word))
}

/// The number that bugfix.md gives to the criteria of a section.
pub(super) fn bugfix_section(text: &str) -> Option<&'static str> {
    let lower = text.to_lowercase();
    if lower.starts_with("current behavior") {
        Some("1")
    } else if lower.starts_with("expected behavior") {
        Some("2")
    } else if lower.starts_with("unchanged behavior") {
        Some("3")
    } else {
        None
    }
}

/// Words that oblige, in the languages that are in use.
pub(in crate::spec) fn obliges(text: &str) -> bool {
    const MUST: &[&str] = &[
        "なければなら",
        "ねばなら",
        "すること",
        "こと。",
        "ものとする",
        "してはならない",
        "てはならない",
        "必须",
        "必須",
        "应",
        "應",
        "해야",
        "должен",
        "должна",
        "должно",
        "DEBE",
        "MUSS",
        "DOIT",
    ];
    text.contains("SHALL") || text.contains("shall ") || MUST.iter().any(|word| text.contains(word))
}

/// Whether a list item reads like a criterion rather than like any list.
pub(super) fn is_sentence(text: &str) -> bool {
    let first = text.trim_start_matches('*').split([' ', '*', ',']).next().unwrap_or("");
    matches!(first, "WHEN" | "IF" | "WHILE" | "WHERE" | "THE" | "FOR" | "GIVEN") || obliges(text)
}
