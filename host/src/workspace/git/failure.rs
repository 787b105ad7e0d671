//! How git calls fail: told apart by what git says in the C locale. Pure.

use std::io;

use super::OLDEST_GIT;

/// How much of git's own words goes into an error.
const MAX_DETAIL_CHARS: usize = 600;

/// Why a git call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GitError {
    /// No git in the path.
    #[error("git was not found in PATH; install git {}.{} or newer", OLDEST_GIT.0, OLDEST_GIT.1)]
    NotInstalled,
    /// Git is older than [`OLDEST_GIT`].
    #[error("git {found} is too old; {}.{} or newer is needed", OLDEST_GIT.0, OLDEST_GIT.1)]
    TooOld {
        /// What `git --version` says.
        found: String,
    },
    /// The time limit was reached and the process group was killed.
    #[error("git {command} took longer than {limit_s} s and was stopped")]
    TimedOut {
        /// The subcommand.
        command: String,
        /// The limit, in seconds.
        limit_s: u64,
    },
    /// It printed more than is kept.
    #[error("git {command} printed more than {limit_bytes} bytes")]
    TooMuchOutput {
        /// The subcommand.
        command: String,
        /// The limit.
        limit_bytes: usize,
    },
    /// The other side can't be reached, or broke off.
    #[error(
        "git {command} could not reach the other side: {detail}; look at the address and the network, then try again"
    )]
    Network {
        /// The subcommand.
        command: String,
        /// Git's own words.
        detail: String,
    },
    /// The other side refuses who we are.
    #[error("git {command} was not let in: {detail}")]
    Auth {
        /// The subcommand.
        command: String,
        /// Git's own words.
        detail: String,
    },
    /// No space left.
    #[error("git {command} found the disk full: {detail}")]
    DiskFull {
        /// The subcommand.
        command: String,
        /// Git's own words.
        detail: String,
    },
    /// A repository, ref or object is not there.
    #[error("git {command} did not find it: {detail}")]
    NotFound {
        /// The subcommand.
        command: String,
        /// Git's own words.
        detail: String,
    },
    /// Something else holds a lock, or a ref is not what was expected.
    #[error("git {command} was in conflict with another change: {detail}")]
    Conflict {
        /// The subcommand.
        command: String,
        /// Git's own words.
        detail: String,
    },
    /// Another process holds a lock, or held it when it was killed.
    #[error(
        "git {command} was locked out by {lock}, which stayed: another git works there, or was killed; when no git \
         runs there any more, remove that file"
    )]
    Locked {
        /// The subcommand.
        command: String,
        /// The lock file.
        lock: String,
    },
    /// Anything else.
    #[error("git {command} failed with exit code {code:?}: {detail}")]
    Other {
        /// The subcommand.
        command: String,
        /// Absent when a signal ended it.
        code: Option<i32>,
        /// Git's own words.
        detail: String,
    },
    /// The process could not be started or talked to.
    #[error("git {command} could not be run")]
    Io {
        /// The subcommand.
        command: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Which kind of failure git's words (in the C locale) tell of.
pub(crate) fn classify(command: String, code: Option<i32>, stderr: &[u8]) -> GitError {
    const DISK: &[&str] = &["no space left on device", "disk quota exceeded"];
    const AUTH: &[&str] = &[
        "authentication failed",
        "permission denied (",
        "detected dubious ownership",
        "could not read username",
        "could not read password",
        "terminal prompts disabled",
        "host key verification failed",
        "the requested url returned error: 401",
        "the requested url returned error: 403",
    ];
    const NETWORK: &[&str] = &[
        "could not resolve host",
        "connection refused",
        "connection timed out",
        "failed to connect",
        "network is unreachable",
        "no route to host",
        "the remote end hung up",
        "empty reply from server",
        "unexpected disconnect",
        "early eof",
        "connection reset",
        "connection closed",
        "operation too slow",
        "operation timed out",
        "temporary failure in name resolution",
        "could not read from remote repository",
        "the requested url returned error: 5",
    ];
    const CONFLICT: &[&str] =
        &["cannot lock ref", "unable to create", "file exists", "but expected", "reference already exists"];
    const MISSING: &[&str] = &[
        "not a git repository",
        "does not appear to be a git repository",
        "couldn't find remote ref",
        "not our ref",
        "bad object",
        "unknown revision",
        "not a valid object name",
        "does not exist",
        "repository not found",
        "' not found",
        "the requested url returned error: 404",
        "bad revision",
    ];
    let detail = detail_of(stderr);
    let lower = detail.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|w| lower.contains(w));
    if let Some(lock) = lock_of(&detail) {
        GitError::Locked { command, lock }
    } else if says(DISK) {
        GitError::DiskFull { command, detail }
    } else if says(AUTH) {
        GitError::Auth { command, detail }
    } else if says(MISSING) {
        GitError::NotFound { command, detail }
    } else if says(NETWORK) {
        GitError::Network { command, detail }
    } else if says(CONFLICT) {
        GitError::Conflict { command, detail }
    } else {
        GitError::Other { command, code, detail }
    }
}

/// The lock file that git found in its way.
fn lock_of(detail: &str) -> Option<String> {
    const FOUND: &str = ".lock': File exists";
    let (before, _) = detail.split_once(FOUND)?;
    let (_, path) = before.rsplit_once('\'')?;
    Some(format!("{path}.lock"))
}

/// Git's first lines, without noise of our own making and without credentials in addresses.
fn detail_of(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty() && !l.contains("core.fsyncObjectFiles is deprecated"))
        .take(6)
        .collect();
    let joined = if lines.is_empty() { "it said nothing".to_owned() } else { lines.join("; ") };
    redact_urls(&joined).chars().take(MAX_DETAIL_CHARS).collect()
}

/// Takes `user:password@` out of every address in a text.
pub(crate) fn redact_urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after.find(|c: char| c == '/' || c.is_whitespace() || c == '\'').unwrap_or(after.len());
        let authority = &after[..end];
        match authority.rfind('@') {
            Some(sign) => out.push_str(&authority[sign + 1..]),
            None => out.push_str(authority),
        }
        rest = &after[end..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_apart_by_what_git_says() {
        let kind = |stderr: &str| match classify("fetch".into(), Some(128), stderr.as_bytes()) {
            GitError::DiskFull { .. } => "disk",
            GitError::Auth { .. } => "auth",
            GitError::Network { .. } => "network",
            GitError::NotFound { .. } => "missing",
            GitError::Conflict { .. } => "conflict",
            GitError::Locked { lock, .. } if lock == "/r/packed refs.lock" => "locked",
            _ => "other",
        };
        for (stderr, expected) in [
            ("fatal: write error: No space left on device", "disk"),
            ("fatal: could not read Username for 'https://x': terminal prompts disabled", "auth"),
            ("git@x: Permission denied (publickey).\nfatal: Could not read from remote repository.", "auth"),
            (
                "fatal: detected dubious ownership in repository at '/x'\nfatal: Could not read from remote repository.",
                "auth",
            ),
            ("ssh: Could not resolve hostname x\nfatal: Could not read from remote repository.", "network"),
            ("fatal: unable to access 'https://x/': Could not resolve host: x", "network"),
            ("fatal: '/x' does not appear to be a git repository\nfatal: Could not read from remote", "missing"),
            ("fatal: repository 'https://h/x.git/' not found", "missing"),
            ("fatal: update_ref failed for ref 'refs/x': cannot lock ref 'refs/x': is at a but expected b", "conflict"),
            ("error: Unable to create '/r/packed refs.lock': File exists.\n\nAnother git process", "locked"),
            ("fatal: something", "other"),
        ] {
            assert_eq!(kind(stderr), expected, "{stderr}");
        }
    }

    #[test]
    fn credentials_in_addresses_are_not_repeated() {
        let text = "fatal: unable to access 'https://me:pa@ss@host/x.git/' and ssh://git@h/y";
        assert_eq!(redact_urls(text), "fatal: unable to access 'https://host/x.git/' and ssh://h/y");
    }
}
