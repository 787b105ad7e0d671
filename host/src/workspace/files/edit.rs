//! Exact-match edits over texts in memory: all of them fit, or every one that does not is named
//! with the reason. Pure.

use std::collections::BTreeMap;

use crate::domain::work::Edit;

/// Most edits of one call.
pub(crate) const MAX_EDITS: usize = 200;
/// Characters of a line that are shown in a reason.
const SHOWN_CHARS: usize = 120;
/// Lines that are looked at to find a similar one.
const MAX_COMPARED_LINES: usize = 20_000;

/// Applies `edits` in order; edits of one file see what the earlier ones did. `files` holds each
/// path's text, or why there is none.
///
/// # Errors
/// One sentence for each edit that does not fit, in order.
pub(crate) fn apply(
    mut files: BTreeMap<String, Result<String, String>>,
    edits: &[Edit],
) -> Result<BTreeMap<String, String>, Vec<String>> {
    let mut reasons = Vec::new();
    for (number, edit) in (1..).zip(edits) {
        let outcome = match files.get_mut(&edit.path) {
            Some(Ok(text)) => replace_once(text, &edit.old_text, &edit.new_text).map(|new| *text = new),
            Some(Err(reason)) => Err(reason.clone()),
            None => Err("there is no such file".to_owned()),
        };
        if let Err(reason) = outcome {
            reasons.push(format!("edit {number} of {} ({}): {reason}", edits.len(), edit.path));
        }
    }
    if !reasons.is_empty() {
        return Err(reasons);
    }
    Ok(files.into_iter().filter_map(|(path, text)| Some((path, text.ok()?))).collect())
}

fn replace_once(text: &str, old: &str, new: &str) -> Result<String, String> {
    if old.is_empty() {
        return Err("the old text is empty; write the whole file instead".to_owned());
    }
    if old == new {
        return Err("the old and the new text are the same".to_owned());
    }
    let Some(at) = text.find(old) else { return Err(missing(text, old)) };
    // Overlapping occurrences count: `aa` stands twice in `aaa`.
    let step = text[at..].chars().next().map_or(1, char::len_utf8);
    if text[at + step..].contains(old) {
        let lines: Vec<String> = occurrences(text, old).iter().map(ToString::to_string).collect();
        return Err(format!(
            "the old text stands {} times (lines {}); add more of what is around it",
            occurrences_count(text, old),
            lines.join(", ")
        ));
    }
    Ok([&text[..at], new, &text[at + old.len()..]].concat())
}

fn starts<'t>(text: &'t str, old: &'t str) -> impl Iterator<Item = usize> + 't {
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = from + text.get(from..)?.find(old)?;
        from = at + text[at..].chars().next().map_or(1, char::len_utf8);
        Some(at)
    })
}

fn occurrences_count(text: &str, old: &str) -> usize {
    starts(text, old).count()
}

/// Lines of the first few occurrences.
fn occurrences(text: &str, old: &str) -> Vec<usize> {
    starts(text, old).take(5).map(|at| text[..at].matches('\n').count() + 1).collect()
}

/// Why the text does not hold `old`, with the place that comes nearest.
fn missing(text: &str, old: &str) -> String {
    if text.contains("\r\n") && !old.contains('\r') && text.replace("\r\n", "\n").contains(old) {
        return "the old text is not there: the file's lines end with \\r\\n, those of the old text with \\n"
            .to_owned();
    }
    let wanted: Vec<&str> = old.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let Some(first) = wanted.first() else {
        return "the old text is not there: it is white space only".to_owned();
    };
    let lines: Vec<&str> = text.lines().take(MAX_COMPARED_LINES).collect();
    let same_but_space = (0..lines.len()).find(|start| {
        let mut rest = lines[*start..].iter().map(|l| l.trim()).filter(|l| !l.is_empty());
        !lines[*start].trim().is_empty() && wanted.iter().all(|w| rest.next() == Some(w))
    });
    if let Some(start) = same_but_space {
        return format!(
            "the old text is not there; line {} differs only in white space: {}",
            start + 1,
            shown(lines[start])
        );
    }
    let nearest = lines
        .iter()
        .enumerate()
        .map(|(at, line)| (likeness(line.trim(), first), at))
        .max_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)))
        .filter(|(likeness, _)| *likeness >= 50);
    match nearest {
        Some((_, at)) => format!("the old text is not there; the nearest line is {}: {}", at + 1, shown(lines[at])),
        None => "the old text is not there, and no line is like its first; read the file again".to_owned(),
    }
}

/// How alike two lines are, in percent: pairs of neighbouring characters that they share.
fn likeness(a: &str, b: &str) -> usize {
    const MAX_PAIRS: usize = 400;
    let pairs = |text: &str| -> BTreeMap<(char, char), usize> {
        let mut found = BTreeMap::new();
        for pair in text.chars().zip(text.chars().skip(1)).take(MAX_PAIRS) {
            *found.entry(pair).or_insert(0) += 1;
        }
        found
    };
    let (left, right) = (pairs(a), pairs(b));
    let total: usize = left.values().sum::<usize>() + right.values().sum::<usize>();
    if total == 0 {
        return if a == b { 100 } else { 0 };
    }
    let shared: usize = left.iter().map(|(pair, n)| (*n).min(right.get(pair).copied().unwrap_or(0))).sum();
    shared * 200 / total
}

fn shown(line: &str) -> String {
    let cut: String = line.chars().take(SHOWN_CHARS).collect();
    format!("`{cut}`")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn edit(path: &str, old: &str, new: &str) -> Edit {
        Edit { path: path.into(), old_text: old.into(), new_text: new.into() }
    }

    fn files(list: &[(&str, &str)]) -> BTreeMap<String, Result<String, String>> {
        list.iter().map(|(path, text)| ((*path).to_owned(), Ok((*text).to_owned()))).collect()
    }

    #[test]
    fn edits_of_one_file_see_the_earlier_ones() {
        let edits = [edit("a", "one", "two"), edit("a", "two three", "four")];
        assert_eq!(apply(files(&[("a", "one three")]), &edits).unwrap()["a"], "four");
    }

    #[test]
    fn every_edit_that_does_not_fit_is_named_and_nothing_is_applied() {
        let edits = [
            edit("a", "x", "y"),
            edit("a", "fn main() {", "z"),
            edit("b", "q", "r"),
            edit("a", "    let total = cound();\n", ""),
            edit("a", "same", "same"),
            edit("a", "", "new"),
            edit("a", "e1", "e2"),
        ];
        let text = "x x\nfn   main() {\n    let total = count();\ne1\n";
        let reasons = apply(files(&[("a", text)]), &edits).unwrap_err();
        let expected = [
            "edit 1 of 7 (a): the old text stands 2 times (lines 1, 1); add more of what is around it",
            "edit 2 of 7 (a): the old text is not there; the nearest line is 2: `fn   main() {`",
            "edit 3 of 7 (b): there is no such file",
            "edit 4 of 7 (a): the old text is not there; the nearest line is 3: `    let total = count();`",
            "edit 5 of 7 (a): the old and the new text are the same",
            "edit 6 of 7 (a): the old text is empty; write the whole file instead",
        ];
        assert_eq!(reasons, expected);
    }

    #[test]
    fn the_reason_tells_line_ends_and_indentation_apart() {
        for (text, old, part) in [
            ("a\r\nb\r\n", "a\nb\n", "lines end with \\r\\n"),
            ("x\n\tif a {\n\t\tb\n", "if a {\n  b\n", "line 2 differs only in white space"),
            ("abc\n", "zzz\n", "no line is like its first"),
            ("abc\n", "  \n", "white space only"),
            ("aaa", "aa", "stands 2 times"),
        ] {
            let reason = apply(files(&[("f", text)]), &[edit("f", old, "!")]).unwrap_err().remove(0);
            assert!(reason.contains(part), "{reason}");
        }
    }

    proptest! {
        #[test]
        fn a_unique_text_is_replaced_and_nothing_else(before in "[a-m\n]{0,40}", after in "[a-m\n]{0,40}", new in "[a-z]{0,9}") {
            let text = format!("{before}XYZ{after}");
            let done = apply(files(&[("f", &text)]), &[edit("f", "XYZ", &new)]).unwrap();
            prop_assert_eq!(&done["f"], &format!("{before}{new}{after}"));
        }

        #[test]
        fn any_text_is_searched_without_a_panic(text in "\\PC{0,60}", old in "\\PC{1,5}") {
            let count = starts(&text, &old).count();
            let done = apply(files(&[("f", &text)]), &[edit("f", &old, "\u{1}")]);
            prop_assert_eq!(done.is_ok(), count == 1);
        }
    }
}
