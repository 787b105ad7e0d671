//! Globs over paths, as settings of heuristics have them: `*` and `?` within a part, `**` over parts.

/// Longer globs and paths match nothing; characters.
const MAX_CHARS: usize = 1_000;

/// Whether a path matches a glob. One without `/` is looked for at any depth; one that ends in `/` takes all
/// that lies below.
#[must_use]
pub fn matches_glob(glob: &str, path: &str) -> bool {
    if glob.is_empty() || glob.chars().count() > MAX_CHARS || path.chars().count() > MAX_CHARS {
        return false;
    }
    let mut glob = glob.strip_prefix("./").unwrap_or(glob).to_owned();
    if !glob.trim_end_matches('/').contains('/') {
        glob.insert_str(0, "**/");
    }
    if glob.ends_with('/') {
        glob.push_str("**");
    }
    let parts: Vec<Vec<char>> = glob.split('/').map(|part| part.chars().collect()).collect();
    let path: Vec<Vec<char>> = path.split('/').map(|part| part.chars().collect()).collect();
    sequence(
        &parts,
        &path,
        |part| part[..] == ['*', '*'],
        |part, name| sequence(part, name, |c| *c == '*', |c, d| *c == '?' || c == d),
    )
}

/// Whether a path matches one of the globs.
#[must_use]
pub fn matches_any(globs: &[String], path: &str) -> bool {
    globs.iter().any(|glob| matches_glob(glob, path))
}

/// Whether a row of patterns matches a row of items: `is_any` ones stand for any number of items. Goes back
/// only to the last of these, so that no glob takes exponential time.
fn sequence<T>(patterns: &[T], items: &[T], is_any: impl Fn(&T) -> bool, fits: impl Fn(&T, &T) -> bool) -> bool {
    let (mut pattern, mut item) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while item < items.len() {
        match patterns.get(pattern) {
            Some(p) if is_any(p) => {
                back = Some((pattern, item));
                pattern += 1;
            }
            Some(p) if fits(p, &items[item]) => {
                pattern += 1;
                item += 1;
            }
            _ => match back {
                Some((any, from)) => {
                    back = Some((any, from + 1));
                    (pattern, item) = (any + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    patterns[pattern..].iter().all(is_any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stay_within_parts_and_double_ones_do_not() {
        for (glob, path, expected) in [
            ("src/*.rs", "src/a.rs", true),
            ("src/*.rs", "src/a/b.rs", false),
            ("src/**/*.rs", "src/a.rs", true),
            ("src/**/*.rs", "src/a/b/c.rs", true),
            ("src/**", "src/a/b", true),
            ("docs/", "docs/a/b.md", true),
            ("docs/", "other/docs/b.md", true),
            ("a/docs/", "other/a/docs/b.md", false),
            ("*.md", "a/b/README.md", true),
            ("README.md", "a/README.md", true),
            ("./a/b", "a/b", true),
            ("**", "anything/at/all", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("*語*", "日本語です", true),
            ("", "a", false),
            ("src/*", "src", false),
        ] {
            assert_eq!(matches_glob(glob, path), expected, "{glob} {path}");
        }
    }

    #[test]
    fn no_glob_takes_exponential_time() {
        assert!(!matches_glob(&"*a".repeat(300), &"a".repeat(900).replace("aaa", "ab")));
        assert!(!matches_glob(&format!("{}z", "**/a/".repeat(100)), &"a/b/".repeat(240)));
    }
}
