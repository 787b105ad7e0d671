//! Where the work comes from: a repository of the user's, by path or by address.

use std::path::{Path, PathBuf};

use super::git::{GitError, redact_urls};
use crate::store::digest_of;

/// Transports by which a repository may be copied. `ext`, which runs a command, is not among them.
pub(crate) const TRANSPORTS: &str = "file:https:http:ssh";

/// Why a repository can't be worked with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Neither a path nor an address.
    #[error("`{text}` is neither a path nor an address of a repository: {reason}")]
    Unreadable {
        /// What was given.
        text: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// There is nothing.
    #[error("{} does not exist", path.display())]
    Missing {
        /// Where.
        path: PathBuf,
    },
    /// There is something, but no repository.
    #[error("{} is not a git repository{}", path.display(), match root {
        Some(root) => format!("; the one at {} holds it", root.display()),
        None => "; `git init` makes one".to_owned(),
    })]
    NotARepository {
        /// Where.
        path: PathBuf,
        /// A repository further up that it lies in.
        root: Option<PathBuf>,
    },
    /// It has no work tree.
    #[error("{} is a bare repository; clone it and name the clone, or name it by an address (file://…)", path.display())]
    Bare {
        /// Where.
        path: PathBuf,
    },
    /// It has no commit.
    #[error("{repository} has no commits; make a first one")]
    Empty {
        /// Which.
        repository: String,
    },
    /// `HEAD` names no branch, and no base branch was given.
    #[error("{repository} has no branch checked out; name the base branch")]
    DetachedHead {
        /// Which.
        repository: String,
    },
    /// The base branch is not there.
    #[error("{repository} has no branch `{branch}`; it has {}", list(existing))]
    BaseMissing {
        /// Which.
        repository: String,
        /// The branch that was named.
        branch: String,
        /// Those that are there.
        existing: Vec<String>,
    },
    /// A branch keeps another from being made: git stores `a/b` below `a`.
    #[error("the branch `{existing}` keeps `{wanted}` from being made; rename it")]
    BranchInTheWay {
        /// What is to be made.
        wanted: String,
        /// What is there.
        existing: String,
    },
    /// A branch has the name of a task's branch, and other work.
    #[error(
        "the branch `{branch}` exists already and holds no work on this task that is known here; rename or delete it, \
         then run again"
    )]
    BranchTaken {
        /// Its name.
        branch: String,
    },
    /// The repository's file system would take two branches for one.
    #[error(
        "the branch `{existing}` differs from `{wanted}` by upper and lower case alone, which this repository's \
             file system takes for the same; rename it"
    )]
    BranchDiffersByCase {
        /// What is to be made.
        wanted: String,
        /// What is there.
        existing: String,
    },
    /// A kind of repository that this host does not know.
    #[error("{repository} is {what}, which is not supported; {instead}")]
    Unsupported {
        /// Which.
        repository: String,
        /// What it is.
        what: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// Git trusts only repositories of the same user.
    #[error("{} belongs to another user; `git config --global --add safe.directory` allows it", path.display())]
    NotOwned {
        /// Where.
        path: PathBuf,
    },
    /// The repository can't be read.
    #[error("{repository} cannot be read: {detail}")]
    Broken {
        /// Which.
        repository: String,
        /// Why.
        detail: String,
    },
    /// A submodule was asked for and cannot be had.
    #[error(
        "the submodule `{name}` cannot be put into slots: {reason}. Without `workspace.submodules` its folder stays empty"
    )]
    Module {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// Git failed.
    #[error(transparent)]
    Git(#[from] GitError),
}

/// A repository that work starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A repository on this machine.
    Path(PathBuf),
    /// One elsewhere.
    Url(String),
}

impl Source {
    /// Reads `--repo`. What has a scheme, or the form `host:path`, is an address; the rest is a path,
    /// relative to `cwd`.
    ///
    /// # Errors
    /// [`SourceError::Unreadable`].
    pub fn parse(text: &str, cwd: &Path) -> Result<Self, SourceError> {
        let refuse = |reason| Err(SourceError::Unreadable { text: without_credentials(text), reason });
        if text.trim().is_empty() {
            return refuse("it is empty");
        }
        if text.starts_with('-') {
            return refuse("it starts with a dash");
        }
        if text.contains(['\0', '\n']) {
            return refuse("it has control characters");
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            // Its parts cannot be told apart for sure, so none of them is repeated.
            let garbled = |reason| Err(SourceError::Unreadable { text: format!("{scheme}://…"), reason });
            if rest.contains(|c: char| c.is_whitespace() || c.is_control() || "'\"<>\\".contains(c)) {
                return garbled("blanks, quotes, `<`, `>` and `\\` have to be written as %20, %27 and so on");
            }
            if !has_port_of_digits(rest) {
                return garbled("a `/`, `?` or `#` in a password has to be written as %2F, %3F or %23");
            }
            return match scheme {
                "https" | "http" | "ssh" | "file" => Ok(Self::Url(text.to_owned())),
                _ => refuse("only https, http, ssh and file are known"),
            };
        }
        if text.contains("::") {
            return refuse("remote helpers are not allowed");
        }
        let scp_like = text.split_once(':').is_some_and(|(host, _)| !host.is_empty() && !host.contains('/'));
        if scp_like && !cwd.join(text).exists() {
            return Ok(Self::Url(text.to_owned()));
        }
        Ok(Self::Path(cwd.join(text)))
    }

    /// For people: without credentials.
    #[must_use]
    pub fn display(&self) -> String {
        match self {
            Self::Path(path) => path.display().to_string(),
            Self::Url(url) => without_credentials(url),
        }
    }

    /// What nobody may see of it: user and password of an address together, and the password alone, as
    /// written and decoded. A user without a password counts too where it can be a token.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        let Self::Url(url) = self else { return Vec::new() };
        let Some((scheme, rest)) = url.split_once("://") else { return Vec::new() };
        let authority = rest.split('/').next().unwrap_or_default();
        let Some((who, _)) = authority.rsplit_once('@') else { return Vec::new() };
        let written = match who.split_once(':') {
            Some((_, password)) => vec![who, password],
            None if scheme.starts_with("http") => vec![who],
            None => Vec::new(),
        };
        let mut secrets: Vec<String> = written.iter().flat_map(|text| [(*text).to_owned(), decoded(text)]).collect();
        secrets.sort();
        secrets.dedup();
        secrets
    }

    /// A short name: the last part, of letters, digits, `-`, `_` and `.`; never empty.
    #[must_use]
    pub fn name(&self) -> String {
        let text = match self {
            Self::Path(path) => {
                let path = path.canonicalize().unwrap_or_else(|_| path.clone());
                path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
            }
            Self::Url(url) => {
                let url = without_credentials(url);
                url.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or_default().to_owned()
            }
        };
        let text = text.strip_suffix(".git").unwrap_or(&text);
        let name: String =
            text.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' }).take(40).collect();
        let name = name.trim_matches(['.', '-']);
        if name.is_empty() { "repository".to_owned() } else { name.to_owned() }
    }

    /// Name of its folder in the state directory: the same source always gives the same one, whatever
    /// password it is reached with. With ssh, another user's path may be another repository.
    pub(crate) fn folder(&self) -> String {
        let identity = match self {
            Self::Path(path) => path.canonicalize().unwrap_or_else(|_| path.clone()).to_string_lossy().into_owned(),
            Self::Url(url) if url.starts_with("ssh://") => url.clone(),
            Self::Url(url) => without_credentials(url),
        };
        let digest = digest_of(identity.as_bytes());
        format!("{}-{}", self.name(), &digest.as_str()[..12])
    }
}

/// What a repository is called in front of people: an address without user and password, anything
/// else as it is.
#[must_use]
pub fn without_credentials(text: &str) -> String {
    redact_urls(text)
}

/// Whether what follows the host, if anything does, is a port. Else a password was not encoded, and
/// what looks like the host is a part of it.
fn has_port_of_digits(rest: &str) -> bool {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    // The address of IPv6 has colons of its own.
    let after = host.rsplit(']').next().unwrap_or_default();
    after.split_once(':').is_none_or(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
}

/// A text with every `%41` turned into what it stands for.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A few names for a message.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 10;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|n| format!("`{n}`")).collect();
    let more = names.len().saturating_sub(SHOWN);
    if more > 0 { format!("{} and {more} more", shown.join(", ")) } else { shown.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_addresses_are_told_apart() {
        let cwd = Path::new("/w");
        let path = |p: &str| Some(Source::Path(PathBuf::from(p)));
        let url = |u: &str| Some(Source::Url(u.to_owned()));
        for (text, expected) in [
            ("/a/b", path("/a/b")),
            ("b", path("/w/b")),
            (".", path("/w/.")),
            ("https://h/x.git", url("https://h/x.git")),
            ("git@h:x/y.git", url("git@h:x/y.git")),
            ("./a:b", path("/w/./a:b")),
            ("ext::sh -c id", None),
            ("git://h/x", None),
            ("--upload-pack=id", None),
            ("https://[::1]:8080/x.git", url("https://[::1]:8080/x.git")),
            ("https://me:p%2Fw@h:8080/x@y", url("https://me:p%2Fw@h:8080/x@y")),
            ("", None),
        ] {
            assert_eq!(Source::parse(text, cwd).ok(), expected, "{text}");
        }
    }

    #[test]
    fn no_name_of_a_source_has_its_password() {
        for address in
            ["https://me:hunter2@h/x.git", "https://hunter2@h/x.git", "https://me:hunter2@h", "http://hunter2@h/"]
        {
            let source = Source::parse(address, Path::new("/w")).unwrap();
            for name in [source.display(), source.name(), source.folder()] {
                assert!(!name.contains("hunter2"), "{name}");
            }
            let other = Source::Url(address.replace("hunter2", "another"));
            assert_eq!(source.folder(), other.folder(), "a new password makes a new mirror");
            assert!(source.secrets().iter().any(|secret| secret == "hunter2"), "{address}");
        }
        for garbled in [
            "https://me:hunter2/x@h/x",
            "https://me:a?hunter2@h/x",
            "https://me:hunter2'@h/",
            "https://me:a hunter2@h/",
        ] {
            let refused = Source::parse(garbled, Path::new("/w")).unwrap_err().to_string();
            assert!(!refused.contains("hunter2") && !refused.contains("me:"), "{refused}");
        }
    }

    #[test]
    fn secrets_of_an_address_are_known_as_written_and_decoded() {
        let secrets = |url: &str| Source::Url(url.to_owned()).secrets();
        assert_eq!(secrets("https://me:p%40ss@h/x@y"), ["me:p%40ss", "me:p@ss", "p%40ss", "p@ss"]);
        assert_eq!(secrets("https://token@h/x"), ["token"]);
        for none in ["ssh://git@h/x", "git@h:x", "https://h/x@y", "file:///x"] {
            assert_eq!(secrets(none), Vec::<String>::new(), "{none}");
        }
    }

    #[test]
    fn names_are_short_and_safe() {
        for (source, expected) in [
            (Source::Url("https://h/a/my-app.git/".into()), "my-app"),
            (Source::Url("git@h:app".into()), "app"),
            (Source::Path("/nowhere/日本 語".into()), "日本-語"),
            (Source::Path("/".into()), "repository"),
            (Source::Path("/nowhere/..hidden".into()), "hidden"),
        ] {
            assert_eq!(source.name(), expected);
        }
    }
}
