//! `#[[file:path]]` in a document: which files it refers to, and the document with them behind it.

use super::super::line::Document;

/// At most this many files does one document refer to; further references stay as they are.
pub const MAX_FILES: usize = 20;

/// At most this many bytes of a file are taken in.
pub const MAX_FILE_TEXT_BYTES: usize = 16 * 1024;

const OPEN: &str = "#[[file:";
const CLOSE: &str = "]]";

/// The document with the files behind it that it refers to, each once, cut to [`MAX_FILE_TEXT_BYTES`]. Where a
/// file cannot be had, a note says why. References in code fences are examples, and those in files that are
/// taken in are text: neither is followed. `read` gives the text at a path as it is written, or why not.
#[must_use]
pub fn with_files(text: &str, mut read: impl FnMut(&str) -> Result<String, String>) -> String {
    if !text.contains(OPEN) {
        return text.to_owned();
    }
    let Ok(document) = Document::new(text.as_bytes()) else { return text.to_owned() };
    let mut out = String::with_capacity(text.len());
    let mut taken: Vec<(&str, Result<String, String>)> = Vec::new();
    let mut from = 0;
    for line in document.lines.iter().filter(|line| !line.fenced) {
        let mut at = line.start;
        while let Some((path, end)) = next(text, at, line.end) {
            let known = taken.iter().position(|(other, _)| *other == path);
            let place = known.or_else(|| {
                (taken.len() < MAX_FILES).then(|| taken.push((path, read(path)))).map(|()| taken.len() - 1)
            });
            out.push_str(&text[from..end]);
            (from, at) = (end, end);
            match place.map(|place| &taken[place].1) {
                Some(Ok(_)) => {}
                Some(Err(why)) => out.push_str(&format!(" ({why})")),
                None => out.push_str(&format!(" (not taken in: more than {MAX_FILES} files)")),
            }
        }
    }
    out.push_str(&text[from..]);
    for (path, read) in &taken {
        if let Ok(file) = read {
            section(&mut out, path, file);
        }
    }
    out
}

/// The next reference between `at` and `end`: its path, and where it ends.
fn next(text: &str, at: usize, end: usize) -> Option<(&str, usize)> {
    let start = at + text.get(at..end)?.find(OPEN)? + OPEN.len();
    let length = text[start..end].find(CLOSE)?;
    Some((text[start..start + length].trim(), start + length + CLOSE.len()))
}

/// A file behind the document, in a fence that nothing in it closes.
fn section(out: &mut String, path: &str, file: &str) {
    let shown = &file[..file.floor_char_boundary(MAX_FILE_TEXT_BYTES)];
    let longest = shown.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    out.truncate(out.trim_end().len());
    out.push_str(&format!("\n\n## File {path}\n\n{fence}\n{}\n{fence}\n", shown.trim_end_matches('\n')));
    if shown.len() < file.len() {
        out.push_str("\n… (cut; read the file for the rest)\n");
    }
}

/// Words of a text that look like paths of files, without repetition, at most 200.
#[must_use]
pub fn paths_in(text: &str) -> Vec<&str> {
    const MAX_PATHS: usize = 200;
    let mut paths: Vec<&str> = Vec::new();
    let ends = |c: char| c.is_whitespace() || "`'\"()[]{}<>,;|、。，；「」（）".contains(c);
    for word in text.split(ends) {
        let word = word.trim_end_matches(['.', ':', '!', '?']).trim_start_matches("./");
        let name = word.rsplit('/').next().unwrap_or(word);
        let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
        let has_one = extension.starts_with(|c: char| c.is_ascii_alphabetic())
            && extension.len() <= 10
            && extension.bytes().all(|b| b.is_ascii_alphanumeric());
        // `e.g.` is none.
        let named = has_one && word.len() > extension.len() + 2;
        let is_path = !name.is_empty() && (named || word.contains('/')) && !word.contains("://");
        if is_path && paths.len() < MAX_PATHS && !paths.contains(&word) {
            paths.push(word);
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(path: &str) -> Result<String, String> {
        match path {
            "api/open.yaml" => Ok("a: 1\n".to_owned()),
            "fence.md" => Ok("````\nx #[[file:api/open.yaml]]\n````".to_owned()),
            "large.md" => Ok("あ".repeat(MAX_FILE_TEXT_BYTES)),
            _ => Err("there is no such file".to_owned()),
        }
    }

    #[test]
    fn files_stand_behind_the_document_and_what_is_missing_is_noted_in_its_place() {
        let text =
            "Follow #[[file:api/open.yaml]] and #[[ file:x ]].\nSee #[[file:gone.md]], #[[file: api/open.yaml ]].\n";
        let expected = "Follow #[[file:api/open.yaml]] and #[[ file:x ]].\n\
            See #[[file:gone.md]] (there is no such file), #[[file: api/open.yaml ]].\n\n\
            ## File api/open.yaml\n\n```\na: 1\n```\n";
        assert_eq!(with_files(text, read), expected);
    }

    #[test]
    fn what_is_taken_in_is_text_and_neither_followed_nor_able_to_end_its_fence() {
        let text = with_files("#[[file:fence.md]]", read);
        assert!(text.ends_with("\n`````\n````\nx #[[file:api/open.yaml]]\n````\n`````\n"), "{text}");
        assert!(!text.contains("a: 1"));
        let example = "```\n#[[file:api/open.yaml]]\n```\n#[[file:api/open.yaml\n]]";
        assert_eq!(with_files(example, read), example);
    }

    #[test]
    fn size_and_number_are_bounded() {
        let text = with_files("#[[file:large.md]]", read);
        assert!(text.len() < MAX_FILE_TEXT_BYTES + 200 && text.ends_with("… (cut; read the file for the rest)\n"));
        let many: String = (0..MAX_FILES + 5).map(|n| format!("#[[file:{n}]]\n")).collect();
        let mut asked = 0;
        let text = with_files(&many, |_| {
            asked += 1;
            Ok(String::new())
        });
        assert_eq!((asked, text.matches("(not taken in").count()), (MAX_FILES, 5));
    }

    #[test]
    fn paths_are_told_from_words_and_numbers() {
        let text =
            "Change `src/api.rs`, ./docs/a.md (and tests/). See 1.2, https://x.y/z.md, e.g. Makefile, main.py: ok.";
        assert_eq!(paths_in(text), ["src/api.rs", "docs/a.md", "main.py"]);
    }

    proptest! {
        #[test]
        fn any_text_stays_as_it_is_but_for_notes(text in "(#\\[\\[file:|\\]\\]|a|あ|\n|```|\r){0,40}") {
            let with = with_files(&text, |_| Err("!".to_owned()));
            prop_assert_eq!(with.replace(" (!)", "").replace(" (not taken in: more than 20 files)", ""), text);
        }
    }
}
