//! Identifiers as types of their own, so that a spec name is never passed where a task id belongs.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind}: {reason}")]
pub struct InvalidId {
    /// What was expected, such as "task id".
    pub kind: &'static str,
    /// What was given, cut to 100 characters.
    pub text: String,
    /// Which rule it breaks.
    pub reason: &'static str,
}

/// Makes a newtype over `String` whose values have passed `$check`.
macro_rules! string_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks `text` against this identifier's grammar.
            ///
            /// # Errors
            /// [`InvalidId`] names the rule that is broken.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                let check: fn(&str) -> Result<(), &'static str> = $check;
                match check(&text) {
                    Ok(()) => Ok(Self(text)),
                    Err(reason) => Err(InvalidId { kind: $kind, text: text.chars().take(100).collect(), reason }),
                }
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

fn opaque(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.len() > 200 {
        return Err("it is longer than 200 bytes");
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("it has white space or control characters");
    }
    Ok(())
}

fn spec_name(text: &str) -> Result<(), &'static str> {
    opaque(text)?;
    if text.len() > 100 {
        return Err("it is longer than 100 bytes");
    }
    if !text.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.')) {
        return Err("only letters, digits, `-`, `_` and `.` may stand in it");
    }
    if text.starts_with(['.', '-']) || text.ends_with('.') || text.contains("..") || text.ends_with(".lock") {
        return Err("it does not fit into a branch name or a folder name");
    }
    Ok(())
}

fn task_id(text: &str) -> Result<(), &'static str> {
    const RULE: &str = "a task id is numbers joined by dots, such as 2.1, with one letter at most at its end";
    if text.len() > 60 {
        return Err(RULE);
    }
    let digits = text.strip_suffix(|c: char| c.is_ascii_lowercase()).unwrap_or(text);
    if digits.is_empty() || !digits.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
    {
        return Err(RULE);
    }
    Ok(())
}

fn issue(text: &str) -> Result<(), &'static str> {
    let number = text.strip_prefix("ISSUE-").and_then(|digits| digits.parse::<u32>().ok()).filter(|number| *number > 0);
    if number.is_some_and(|number| format!("ISSUE-{number:03}") == text) {
        Ok(())
    } else {
        Err("an issue's id is ISSUE- and a number of three digits or more, such as ISSUE-001")
    }
}

fn sha256_hex(text: &str) -> Result<(), &'static str> {
    if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        Ok(())
    } else {
        Err("it is not 64 lower-case hexadecimal digits")
    }
}

fn role(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > 40 {
        return Err("it is empty or longer than 40 bytes");
    }
    if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        || text.starts_with('_')
        || text.ends_with('_')
    {
        return Err("only a-z, 0-9 and `_` may stand in it");
    }
    Ok(())
}

fn instance(text: &str) -> Result<(), &'static str> {
    const RULE: &str = "it has the form <role>_spirit_<number>";
    let (role_part, number) = text.rsplit_once("_spirit_").ok_or(RULE)?;
    role(role_part).map_err(|_| RULE)?;
    match number.parse::<u32>() {
        Ok(n) if n > 0 && !number.starts_with('0') => Ok(()),
        _ => Err(RULE),
    }
}

string_id! {
    /// One invocation of `run`: a UUID v7.
    RunId, "run id", opaque
}
string_id! {
    /// The name of a spec's folder below `.kiro/specs/`. Unicode letters are welcome.
    SpecName, "spec name", spec_name
}
string_id! {
    /// A task's number inside its spec, such as `2.1`. Sorts naturally: `2` before `10`.
    TaskId, "task id", task_id
}
string_id! {
    /// One invocation of one component: a UUID v7.
    ExecutionId, "execution id", opaque
}
string_id! {
    /// SHA-256 of some bytes, in hexadecimal.
    Digest, "SHA-256 digest", sha256_hex
}
string_id! {
    /// A git object id in hexadecimal.
    CommitId, "git object id", opaque
}
string_id! {
    /// A spirit's role: architect, scrum_master, backend …
    Role, "role", role
}
string_id! {
    /// A spirit: `<role>_spirit_<number>`.
    Instance, "spirit instance", instance
}
string_id! {
    /// A slot: `workspace-<repository>-slot<number>`.
    SlotId, "slot id", opaque
}
string_id! {
    /// An artifact's opaque address: `artifact:<uuid>`.
    ArtifactUri, "artifact URI", opaque
}
string_id! {
    /// An entry of the backlog: `ISSUE-` and a number of three digits or more, such as `ISSUE-001`.
    IssueId, "issue id", issue
}

impl IssueId {
    /// The `number`-th issue, from 1.
    #[must_use]
    pub fn numbered(number: u32) -> Self {
        Self(format!("ISSUE-{:03}", number.max(1)))
    }

    /// Its number, from 1.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.0.strip_prefix("ISSUE-").and_then(|digits| digits.parse().ok()).unwrap_or(1)
    }
}

impl TaskId {
    /// The id without its last part: `2.1` → `2`.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('.').map(|(parent, _)| Self(parent.to_owned()))
    }

    /// Whether it stands for a planning step (`0.1` specify, `0.2` plan): attempts at it are recorded,
    /// but it is no task of the spec.
    #[must_use]
    pub fn is_planning_step(&self) -> bool {
        self.0.starts_with("0.")
    }

    /// A text that sorts by its bytes as ids sort naturally: for tables, which know no other order.
    #[must_use]
    pub fn ordinal(&self) -> String {
        let mut key = String::with_capacity(2 * self.0.len() + 4);
        for (number, part) in self.parts() {
            let digits = number.to_string();
            // A longer number is a larger one; the part itself tells 1 from 01 and 1a.
            key.push(char::from(b'a' + u8::try_from(digits.len()).unwrap_or(20)));
            key.push_str(&digits);
            key.push_str(part);
            key.push('.');
        }
        key
    }

    fn parts(&self) -> impl Iterator<Item = (u64, &str)> {
        self.0.split('.').map(|part| {
            let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            (part[..end].parse().unwrap_or(u64::MAX), part)
        })
    }
}

impl Ord for TaskId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(other.parts())
    }
}

impl PartialOrd for TaskId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Sorts by text.
macro_rules! text_order {
    ($($name:ident),*) => {$(
        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                self.0.cmp(&other.0)
            }
        }
        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }
    )*};
}
text_order!(RunId, SpecName, ExecutionId, Digest, CommitId, Role, Instance, SlotId, ArtifactUri);

impl Ord for IssueId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.number().cmp(&other.number())
    }
}

impl PartialOrd for IssueId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The first digits of a hash, enough for people.
#[must_use]
pub fn short(hash: &str) -> &str {
    const DIGITS: usize = 10;
    hash.get(..DIGITS).unwrap_or(hash)
}

impl CommitId {
    /// The first digits, enough for people.
    #[must_use]
    pub fn short(&self) -> &str {
        short(&self.0)
    }
}

impl Digest {
    /// The first digits, enough for people.
    #[must_use]
    pub fn short(&self) -> &str {
        short(&self.0)
    }
}

impl Instance {
    /// The `number`-th spirit of `role`, from 1.
    #[must_use]
    pub fn of(role: &Role, number: u32) -> Self {
        Self(format!("{role}_spirit_{}", number.max(1)))
    }

    /// The role part.
    #[must_use]
    pub fn role(&self) -> Role {
        let (role, _) = self.0.rsplit_once("_spirit_").unwrap_or((&self.0, ""));
        Role(role.to_owned())
    }

    /// The number part.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.0.rsplit_once("_spirit_").and_then(|(_, n)| n.parse().ok()).unwrap_or(1)
    }
}

/// A task of a spec. Task ids alone are unique only inside their spec.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TaskKey {
    /// The spec.
    pub spec: SpecName,
    /// The task in it.
    pub task: TaskId,
}

impl fmt::Display for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.spec, self.task)
    }
}

/// One try at a task. Attempts count from 1.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AttemptKey {
    /// The task.
    #[serde(flatten)]
    pub key: TaskKey,
    /// Which try, from 1.
    pub attempt: u32,
}

impl fmt::Display for AttemptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.key, self.attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn task_ids_sort_naturally() {
        let mut ids: Vec<TaskId> =
            ["10", "2.10", "2", "2.2", "2.2a"].iter().map(|t| TaskId::new(*t).unwrap()).collect();
        ids.sort();
        let sorted: Vec<&str> = ids.iter().map(TaskId::as_str).collect();
        assert_eq!(sorted, ["2", "2.2", "2.2a", "2.10", "10"]);
    }

    proptest::proptest! {
        #[test]
        fn ordinals_sort_as_ids_do(
            a in "[0-9]{1,3}(\\.[0-9]{1,22}){0,3}[a-c]?",
            b in "[0-9]{1,3}(\\.[0-9]{1,22}){0,3}[a-c]?",
        ) {
            let (a, b) = (TaskId::new(a), TaskId::new(b));
            if let (Ok(a), Ok(b)) = (a, b) {
                proptest::prop_assert_eq!(a.cmp(&b), a.ordinal().cmp(&b.ordinal()));
            }
        }
    }

    #[test]
    fn issues_are_numbered_from_one() {
        for good in ["ISSUE-001", "ISSUE-999", "ISSUE-1000"] {
            assert_eq!(IssueId::numbered(IssueId::new(good).unwrap().number()).as_str(), good);
        }
        for bad in ["ISSUE-000", "ISSUE-1", "ISSUE-0001", "issue-001", "001", "ISSUE-", "ISSUE-99999999999"] {
            assert!(IssueId::new(bad).is_err(), "{bad}");
        }
        assert!(IssueId::numbered(999) < IssueId::numbered(1000));
    }

    #[test]
    fn spec_names_cannot_escape_their_folder() {
        for bad in ["", "..", "../x", "a/b", ".hidden", "a..b", "x.lock", "a b", "-x", "a\n", "a."] {
            assert!(SpecName::new(bad).is_err(), "{bad:?} passed");
        }
        for good in ["login-ui", "認証", "33-00-ai", "v1.2_x"] {
            assert!(SpecName::new(good).is_ok(), "{good:?} refused");
        }
    }

    #[test]
    fn instances_have_a_role_and_a_number() {
        let spirit = Instance::new("scrum_master_spirit_12").unwrap();
        assert_eq!(spirit.role().as_str(), "scrum_master");
        assert_eq!(spirit.number(), 12);
        for bad in ["backend", "backend_spirit_0", "backend_spirit_01", "_spirit_1", "Backend_spirit_1", "a_spirit_x"] {
            assert!(Instance::new(bad).is_err(), "{bad:?} passed");
        }
    }
}
