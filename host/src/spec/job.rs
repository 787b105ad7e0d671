//! What can be read off a job's text before any spirit has seen it: title and spec name.

use crate::domain::id::{Digest, SpecName};

/// Longer titles are cut; characters.
const MAX_TITLE_CHARS: usize = 120;

/// Longer slugs are cut, where possible between words; bytes.
const MAX_SLUG_BYTES: usize = 60;

/// The first heading or line that has letters, without Markdown, at most 120 characters.
#[must_use]
pub fn title(job: &str) -> String {
    let line = job.lines().map(plain).find(|line| line.chars().any(char::is_alphanumeric)).unwrap_or_default();
    let mut out: String = line.chars().take(MAX_TITLE_CHARS).collect();
    out.truncate(out.trim_end().len());
    out
}

fn plain(line: &str) -> &str {
    let line = line.trim_start_matches('\u{feff}').trim();
    let line = line.trim_start_matches(['#', '>', '*', '-', '+', ' ', '\t']);
    line.trim_end_matches(['#', '*', ' '])
}

/// The name of the job's spec: its title in lower case, letters and digits of every script kept, all
/// else as `-`. A title that leaves nothing gives `job-` and eight digits of `digest`.
#[must_use]
pub fn spec_name(job: &str, digest: &Digest) -> SpecName {
    let hex = &digest.as_str()[..8];
    SpecName::new(slug(&title(job)))
        .or_else(|_| SpecName::new(format!("job-{hex}")))
        .expect("`job-` and hexadecimal digits are a spec name")
}

/// `text` as a part of a name: see [`spec_name`]. May be empty; giving it a slug again changes nothing.
#[must_use]
pub fn slug(text: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut length = 0;
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let word = lower(word);
        if length + word.len() > MAX_SLUG_BYTES {
            if words.is_empty() {
                words.push(cut(&word, MAX_SLUG_BYTES));
            }
            break;
        }
        length += word.len() + 1;
        words.push(word);
    }
    words.join("-")
}

/// Lower case of every character whose lower case is letters or digits again.
fn lower(word: &str) -> String {
    word.chars()
        .flat_map(|c| {
            let small: String = c.to_lowercase().collect();
            let keep = small.chars().all(|s| s.is_alphanumeric() && s.to_lowercase().eq(std::iter::once(s)));
            if keep { small } else { c.to_string() }.chars().collect::<Vec<_>>()
        })
        .collect()
}

fn cut(word: &str, bytes: usize) -> String {
    let mut out = String::new();
    for c in word.chars() {
        if out.len() + c.len_utf8() > bytes {
            break;
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest() -> Digest {
        Digest::new("0123456789abcdef".repeat(4)).unwrap()
    }

    #[test]
    fn a_title_is_the_first_line_with_letters() {
        for (job, expected) in [
            ("# Add a login page\n\nmore", "Add a login page"),
            ("\n---\n\n**Fix it** \n", "Fix it"),
            ("\u{feff}## 認証を追加 ##", "認証を追加"),
            ("", ""),
        ] {
            assert_eq!(title(job), expected, "{job:?}");
        }
        assert_eq!(title(&"x".repeat(500)).len(), MAX_TITLE_CHARS);
    }

    #[test]
    fn spec_names_keep_letters_of_every_script() {
        for (job, expected) in [
            ("# Add a login page!", "add-a-login-page"),
            ("ログイン画面を追加", "ログイン画面を追加"),
            ("../../escape", "escape"),
            ("Fix v1.2 (urgent)", "fix-v1-2-urgent"),
            ("???", "job-01234567"),
            ("", "job-01234567"),
        ] {
            assert_eq!(spec_name(job, &digest()).as_str(), expected, "{job:?}");
        }
        assert_eq!(slug(&"word ".repeat(40)).len(), 59);
    }

    proptest! {
        #[test]
        fn every_job_has_a_name_and_a_slug_is_stable(job in any::<String>()) {
            let name = spec_name(&job, &digest());
            prop_assert!(SpecName::new(name.as_str()).is_ok());
            let once = slug(&job);
            prop_assert_eq!(slug(&once), once);
        }
    }
}
