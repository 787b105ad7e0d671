//! Steering of the base commit, and which of it an assignment gets: what always applies, what fits the work,
//! and for the rest a list of where it stands and when to read it.

use super::error::ServiceError;
use crate::domain::assignment::Document;
use crate::domain::mask::Mask;
use crate::spec::folder::STEERING;
use crate::spec::steering::{Inclusion, MAX_FILE_TEXT_BYTES, Steering, paths_in, read, with_files};
use crate::workspace::{Objects, TreeId, WorkPath, WorkspaceError};

/// Steering documents of one assignment, in bytes together.
const MAX_STEERING_BYTES: usize = 64 * 1024;
/// Documents that are only listed, at most.
const MAX_LISTED: usize = 50;
/// A description in that list, in bytes.
const MAX_DESCRIPTION_BYTES: usize = 300;

/// Steering documents by path, with the files that they refer to.
#[derive(Debug, Clone, Default)]
pub(crate) struct SteeringSet {
    all: Vec<(String, Steering)>,
}

impl SteeringSet {
    /// Reads those among `paths` from a tree.
    pub(crate) fn read(objects: &Objects, tree: &TreeId, paths: &[String]) -> Result<Self, WorkspaceError> {
        let own = |path: &&String| path.starts_with(&format!("{STEERING}/")) && path.ends_with(".md");
        let mut all = Vec::new();
        for path in paths.iter().filter(own) {
            let Some(bytes) = objects.read_file(tree, path)? else { continue };
            if objects.is_link(tree, path)? {
                tracing::warn!(%path, "left out: a symbolic link, which is not followed");
                continue;
            }
            let name = path.rsplit('/').next().unwrap_or(path);
            let mut steering = read(name, &String::from_utf8_lossy(&bytes));
            steering.text = with_files(&steering.text, |path| referred(objects, tree, path));
            all.push((path.clone(), steering));
        }
        Ok(Self { all })
    }

    /// The same without secrets. Says in the log what is too much to be given.
    pub(crate) fn masked(mut self, mask: &Mask) -> Self {
        let mut room = MAX_STEERING_BYTES;
        for (path, steering) in &mut self.all {
            steering.text = mask.apply(&steering.text);
            steering.description = steering.description.as_ref().map(|text| mask.apply(text));
            if steering.inclusion == Inclusion::Always {
                match room.checked_sub(steering.text.len()) {
                    Some(left) => room = left,
                    None => {
                        tracing::warn!(%path, "left out: steering documents have more than {MAX_STEERING_BYTES} bytes");
                    }
                }
            }
        }
        self
    }

    /// What an assignment gets that is described by `about`. What always applies has precedence.
    pub(crate) fn given(&self, about: &str) -> Vec<Document> {
        let files = paths_in(about);
        let (always, others): (Vec<_>, Vec<_>) =
            self.all.iter().partition(|(_, steering)| steering.inclusion == Inclusion::Always);
        let (fitting, rest): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|(_, steering)| steering.applies(&files, about));
        let mut room = MAX_STEERING_BYTES;
        let mut documents = Vec::new();
        for (path, steering) in always.into_iter().chain(fitting) {
            if let Some(left) = room.checked_sub(steering.text.len()) {
                room = left;
                documents.push(Document { name: path.clone(), text: steering.text.clone() });
            }
        }
        documents.extend(list(&rest));
        documents
    }
}

/// Where documents stand that may fit what a spirit comes to do.
fn list(rest: &[&(String, Steering)]) -> Option<Document> {
    let when = |steering: &Steering| match &steering.inclusion {
        Inclusion::FileMatch(patterns) if !patterns.is_empty() => {
            Some(format!("before you change files that match `{}`", patterns.join("`, `")))
        }
        Inclusion::Auto => Some(steering.description.clone().unwrap_or_else(|| steering.name.clone())),
        _ => None,
    };
    let line = |path: &str, when: String| {
        let when = &when[..when.floor_char_boundary(MAX_DESCRIPTION_BYTES)];
        format!("- {path}: {}\n", when.replace(['\n', '\r'], " "))
    };
    let lines: Vec<String> =
        rest.iter().filter_map(|(path, steering)| Some(line(path, when(steering)?))).take(MAX_LISTED).collect();
    let text = format!("Read these when they fit what you do:\n{}", lines.concat());
    (!lines.is_empty()).then(|| Document { name: format!("{STEERING} (more)"), text })
}

/// The text of a file of the tree that a document refers to, or why it cannot be had.
pub(crate) fn referred(objects: &Objects, tree: &TreeId, path: &str) -> Result<String, String> {
    let checked = WorkPath::parse_file(path).map_err(|_| "not taken in: no path of a file of this repository")?;
    let path = checked.as_str();
    let unreadable = |error: WorkspaceError| ServiceError::from(error).to_string();
    if objects.is_link(tree, path).map_err(unreadable)? {
        return Err("not taken in: a symbolic link, which is not followed".to_owned());
    }
    match objects.size_of(tree, path).map_err(unreadable)? {
        None => return Err("not taken in: there is no such file".to_owned()),
        Some(size) if size > MAX_REFERRED_BYTES => return Err("not taken in: the file is too large".to_owned()),
        Some(_) => {}
    }
    let bytes = objects.read_file(tree, path).map_err(unreadable)?.unwrap_or_default();
    if bytes.iter().take(MAX_FILE_TEXT_BYTES).any(|byte| *byte == 0) {
        return Err("not taken in: the file is no text".to_owned());
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A file that is larger is not even read.
const MAX_REFERRED_BYTES: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn set(documents: &[(&str, &str)]) -> SteeringSet {
        let path = |name: &str| format!("{STEERING}/{name}.md");
        SteeringSet { all: documents.iter().map(|(name, text)| (path(name), read(name, text))).collect() }
    }

    fn names(documents: &[Document]) -> Vec<&str> {
        documents.iter().map(|document| document.name.rsplit('/').next().unwrap()).collect()
    }

    #[test]
    fn each_rule_of_inclusion_decides_about_its_documents() {
        let set = set(&[
            ("auto", "---\ninclusion: auto\nname: payments\ndescription: rules for invoices\n---\nA"),
            ("match", "---\ninclusion: fileMatch\nfileMatchPattern: 'src/api/**'\n---\nB"),
            ("manual", "---\ninclusion: manual\n---\nC"),
            ("never", "---\ninclusion: never\n---\nD"),
            ("plain", "E"),
        ]);
        let given = set.given("Write the page");
        assert_eq!(names(&given), ["plain.md", "steering (more)"]);
        let expected = "Read these when they fit what you do:\n\
                        - .kiro/steering/auto.md: rules for invoices\n\
                        - .kiro/steering/match.md: before you change files that match `src/api/**`\n";
        assert_eq!(given[1].text, expected);
        assert_eq!(names(&set.given("Send invoices")), ["plain.md", "auto.md", "steering (more)"]);
        assert_eq!(names(&set.given("Change `src/api/v1.rs`.")), ["plain.md", "match.md", "steering (more)"]);
        assert_eq!(
            names(&set.given("By #manual, #payments and src/api/x")),
            ["plain.md", "auto.md", "match.md", "manual.md"]
        );
    }

    #[test]
    fn what_always_applies_has_the_room_first() {
        let large = "x".repeat(MAX_STEERING_BYTES);
        let matching = "---\ninclusion: fileMatch\nfileMatchPattern: '*.rs'\n---\nB";
        let set = set(&[("a", matching), ("b", &large), ("c", "y")]);
        assert_eq!(names(&set.given("src/a.rs")), ["b.md"]);
    }
}
