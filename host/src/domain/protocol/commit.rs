//! Commit messages: the seed's subject, and trailers that say which spec, task, spirit and attempt a
//! commit belongs to.

use crate::domain::id::{AttemptKey, Instance, Role, SpecName, TaskId, TaskKey};

use super::slug::slug;

/// A subject has at most this many characters, unless spec numbers of absurd length need more.
pub const MAX_SUBJECT_CHARS: usize = 100;

/// However long the rest of the subject is, this much of the spell is kept.
const MIN_SPELL_CHARS: usize = 20;

const MAX_SCOPE_BYTES: usize = 30;
const MAX_ISSUE_CHARS: usize = 100;

/// What stands for a spell that has no visible character.
const NO_SPELL: &str = "do the task";

/// Directories that say nothing about what a change is about.
const GENERIC: [&str; 12] =
    ["src", "lib", "app", "apps", "crates", "packages", "pkg", "internal", "cmd", "source", "main", "."];

/// A commit of an attempt. Its fields are in the form in which they can be written and read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    scope: String,
    spell: String,
    attempt: AttemptKey,
    spirit: Instance,
    issue: Option<String>,
}

impl Commit {
    /// A commit by `spirit`. `scope` goes through the sanitiser; `spell` and `issue` become one line
    /// without invisible characters, whatever a spirit wrote there, and are cut to size.
    #[must_use]
    pub fn new(scope: &str, spell: &str, attempt: AttemptKey, spirit: Instance, issue: Option<&str>) -> Self {
        let scope = short_scope(scope);
        // "spirit(" "): " " [Task " "]"
        let frame = scope.chars().count() + attempt.key.task.as_str().len() + 18;
        let room = MAX_SUBJECT_CHARS.saturating_sub(frame).max(MIN_SPELL_CHARS);
        let mut spell = one_line(spell, room);
        if spell.is_empty() {
            NO_SPELL.clone_into(&mut spell);
        }
        let issue = issue.map(|i| one_line(i, MAX_ISSUE_CHARS)).filter(|i| !i.is_empty());
        Self { scope, spell, attempt, spirit, issue }
    }

    /// `spirit(<scope>): <spell> [Task <id>]`
    #[must_use]
    pub fn subject(&self) -> String {
        format!("spirit({}): {} [Task {}]", self.scope, self.spell, self.attempt.key.task)
    }

    /// The whole message: subject, blank line, trailers. Ends with a line break.
    #[must_use]
    pub fn message(&self) -> String {
        let AttemptKey { key: TaskKey { spec, task }, attempt } = &self.attempt;
        let mut text =
            format!("{}\n\nSpec: {spec}\nTask: {task}\nSpirit: {}\nAttempt: {attempt}\n", self.subject(), self.spirit);
        if let Some(issue) = &self.issue {
            text.push_str("Issue: ");
            text.push_str(issue);
            text.push('\n');
        }
        text
    }

    /// What the change is about.
    #[must_use]
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// What was done.
    #[must_use]
    pub fn spell(&self) -> &str {
        &self.spell
    }

    /// Whose it is.
    #[must_use]
    pub const fn attempt(&self) -> &AttemptKey {
        &self.attempt
    }

    /// Who made it.
    #[must_use]
    pub const fn spirit(&self) -> &Instance {
        &self.spirit
    }

    /// The backlog issue.
    #[must_use]
    pub fn issue(&self) -> Option<&str> {
        self.issue.as_deref()
    }
}

/// Why a message is no spirit's commit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCommit {
    /// The first line has another form.
    #[error("the subject does not have the form spirit(<scope>): <spell> [Task <id>]")]
    Subject,
    /// A trailer is missing or cannot be read.
    #[error("the trailer {name} is missing or cannot be read")]
    Trailer {
        /// Its name.
        name: &'static str,
    },
    /// The subject and the trailers name different tasks.
    #[error("the subject names task {subject} and the trailers name task {trailer}")]
    TwoTasks {
        /// In the subject.
        subject: TaskId,
        /// In the trailers.
        trailer: TaskId,
    },
}

/// Reads a message that [`Commit::message`] wrote. Other trailers may stand between the known ones.
///
/// # Errors
/// [`InvalidCommit`] says which part is not a spirit's.
pub fn parse_commit(message: &str) -> Result<Commit, InvalidCommit> {
    let message = message.trim_end();
    let (subject, rest) = message.split_once('\n').unwrap_or((message, ""));
    let (scope, spell, task) = parse_subject(subject.trim_end()).ok_or(InvalidCommit::Subject)?;
    // Git reads trailers from the last paragraph alone.
    let trailers = rest.rsplit("\n\n").next().unwrap_or("");
    let value = |name: &'static str| {
        trailers
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.trim())
            .ok_or(InvalidCommit::Trailer { name })
    };
    let trailer = TaskId::new(value("Task")?).map_err(|_| InvalidCommit::Trailer { name: "Task" })?;
    if trailer != task {
        return Err(InvalidCommit::TwoTasks { subject: task, trailer });
    }
    let spec = SpecName::new(value("Spec")?).map_err(|_| InvalidCommit::Trailer { name: "Spec" })?;
    let spirit = Instance::new(value("Spirit")?).map_err(|_| InvalidCommit::Trailer { name: "Spirit" })?;
    let attempt = value("Attempt")?.parse().map_err(|_| InvalidCommit::Trailer { name: "Attempt" })?;
    Ok(Commit {
        scope: scope.to_owned(),
        spell: spell.to_owned(),
        attempt: AttemptKey { key: TaskKey { spec, task }, attempt },
        spirit,
        issue: value("Issue").ok().map(str::to_owned),
    })
}

fn parse_subject(subject: &str) -> Option<(&str, &str, TaskId)> {
    let rest = subject.strip_prefix("spirit(")?.strip_suffix(']')?;
    let (scope, rest) = rest.split_once("): ")?;
    let (spell, task) = rest.rsplit_once(" [Task ")?;
    let task = TaskId::new(task).ok()?;
    (!scope.is_empty() && !spell.is_empty()).then_some((scope, spell, task))
}

/// What a change is about: the innermost directory that all changed files share and that says
/// something, else the role.
#[must_use]
pub fn scope<'a>(role: &Role, paths: impl IntoIterator<Item = &'a str>) -> String {
    let mut shared: Option<Vec<&str>> = None;
    for path in paths {
        let mut directories: Vec<&str> = path.split('/').collect();
        directories.pop();
        shared = Some(match shared {
            None => directories,
            Some(before) => {
                let same = before.iter().zip(&directories).take_while(|(a, b)| a == b).count();
                before[..same].to_vec()
            }
        });
    }
    let telling = shared.iter().flatten().rev().find(|d| !GENERIC.contains(d) && d.chars().any(char::is_alphanumeric));
    short_scope(telling.copied().unwrap_or(role.as_str()))
}

fn short_scope(text: &str) -> String {
    let scope = slug(text);
    scope[..scope.floor_char_boundary(MAX_SCOPE_BYTES)].trim_end_matches('-').to_owned()
}

/// One line of at most `room` characters. Line breaks and control characters end up as spaces,
/// invisible and direction-changing characters are dropped: what is shown is what is there.
fn one_line(text: &str, room: usize) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {}
            c if c.is_whitespace() || c.is_control() => {
                if !out.is_empty() && !out.ends_with(' ') {
                    out.push(' ');
                }
            }
            c => out.push(c),
        }
        // Enough for the cut below; a hostile text may be megabytes.
        if out.len() > (room + 1) * 4 {
            break;
        }
    }
    let line = out.trim();
    if line.chars().count() <= room {
        return line.to_owned();
    }
    let mut cut: String = line.chars().take(room.saturating_sub(1)).collect();
    cut.truncate(cut.trim_end().len());
    cut.push('…');
    cut
}
