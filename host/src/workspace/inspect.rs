//! A look at the source: it is read without changing a byte of it, and what can't be worked with is
//! refused by name.

use std::path::Path;

use git2::{ErrorClass, ErrorCode, Repository, StatusOptions};

use super::git::{Call, Git};
use super::source::{Source, SourceError, TRANSPORTS};
use crate::domain::id::CommitId;

/// Changed paths that are named one by one.
const MAX_DIRTY_LISTED: usize = 50;

/// The mark of an entry that a sparse checkout leaves out.
const SKIP_WORKTREE: u16 = 1 << 14;

/// A change that is in the user's work tree but in no commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirtyPath {
    /// Path from the root of the work tree.
    pub path: String,
    /// Git does not know the file yet.
    pub untracked: bool,
}

/// What a repository offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The branch that the work starts from.
    pub base_branch: String,
    /// Its commit.
    pub base_commit: CommitId,
    /// All branches, sorted.
    pub branches: Vec<String>,
    /// Changes that no commit holds, at most 50. Work starts from the commit, so it will not see them.
    pub dirty: Vec<DirtyPath>,
    /// How many there are in all.
    pub dirty_count: usize,
}

impl Inspection {
    /// Whether a branch with this name could be made beside those that exist. A branch of this very
    /// name is fine.
    ///
    /// # Errors
    /// [`SourceError::BranchInTheWay`].
    pub fn check_branch_free(&self, wanted: &str) -> Result<(), SourceError> {
        let below = |shorter: &str, longer: &str| longer.strip_prefix(shorter).is_some_and(|r| r.starts_with('/'));
        match self.branches.iter().find(|b| below(b, wanted) || below(wanted, b)) {
            None => Ok(()),
            Some(existing) => {
                Err(SourceError::BranchInTheWay { wanted: wanted.to_owned(), existing: existing.clone() })
            }
        }
    }
}

/// Looks at a repository and finds the branch to start from: `base`, or the one checked out.
///
/// # Errors
/// Every [`SourceError`] but the one about a branch in the way.
pub async fn inspect(git: &Git, source: &Source, base: Option<&str>) -> Result<Inspection, SourceError> {
    match source {
        Source::Path(path) => {
            let (path, base) = (path.clone(), base.map(str::to_owned));
            let shown = source.display();
            tokio::task::spawn_blocking(move || inspect_path(&path, base.as_deref()))
                .await
                .map_err(|e| SourceError::Broken { repository: shown, detail: e.to_string() })?
        }
        Source::Url(url) => inspect_url(git, source, url, base).await,
    }
}

fn inspect_path(path: &Path, base: Option<&str>) -> Result<Inspection, SourceError> {
    if !path.exists() {
        return Err(SourceError::Missing { path: path.to_owned() });
    }
    let repository = Repository::open(path).map_err(|e| refusal(path, &e))?;
    if repository.is_bare() {
        return Err(SourceError::Bare { path: path.to_owned() });
    }
    let shown = path.display().to_string();
    let unsupported = |what, instead| SourceError::Unsupported { repository: shown.clone(), what, instead };
    if repository.is_shallow() {
        return Err(shallow(&shown));
    }
    let broken = |e: git2::Error| SourceError::Broken { repository: shown.clone(), detail: e.message().to_owned() };
    let config = repository.config().and_then(|c| c.open_level(git2::ConfigLevel::Local)).map_err(broken)?;
    if config.get_entry("extensions.partialclone").is_ok() {
        return Err(unsupported("a partial clone", "name its origin, or make a full clone"));
    }
    let mut heads: Vec<(String, CommitId)> = Vec::new();
    for reference in repository.references_glob("refs/heads/*").map_err(broken)? {
        let reference = reference.map_err(broken)?;
        let (Ok(name), Ok(commit)) = (reference.shorthand(), reference.peel_to_commit()) else { continue };
        heads.push((name.to_owned(), super::objects::commit_id(commit.id())));
    }
    let (base_branch, base_commit) = choose_base(&shown, heads.clone(), base, || head_branch(&repository, &shown))?;
    let (dirty, dirty_count) = dirty_paths(&repository).map_err(broken)?;
    let mut branches: Vec<String> = heads.into_iter().map(|(name, _)| name).collect();
    branches.sort();
    Ok(Inspection { base_branch, base_commit, branches, dirty, dirty_count })
}

/// A repository whose history is cut off: nothing can be merged with it.
pub(crate) fn shallow(repository: &str) -> SourceError {
    let (what, instead) = ("a shallow clone", "`git fetch --unshallow` completes it");
    SourceError::Unsupported { repository: repository.to_owned(), what, instead }
}

/// Whether the repository at `root` has `path`, or anything below it, in its index; upper and lower
/// case are the same, as they are on some file systems. False when it cannot be asked.
#[must_use]
pub fn is_tracked(root: &Path, path: &Path) -> bool {
    let wanted = path.as_os_str().as_encoded_bytes();
    let below = |entry: &[u8]| match entry.split_at_checked(wanted.len()) {
        Some((start, rest)) => start.eq_ignore_ascii_case(wanted) && matches!(rest, [] | [b'/', ..]),
        None => false,
    };
    let index = Repository::open(root).and_then(|repository| repository.index());
    index.is_ok_and(|index| index.iter().any(|entry| below(&entry.path)))
}

/// Why `path` is no repository that can be opened.
fn refusal(path: &Path, error: &git2::Error) -> SourceError {
    let repository = path.display().to_string();
    let message = error.message().to_lowercase();
    if error.code() == ErrorCode::Owner {
        return SourceError::NotOwned { path: path.to_owned() };
    }
    if message.contains("object format") || message.contains("objectformat") {
        let (what, instead) = ("a SHA-256 repository", "use a SHA-1 repository");
        return SourceError::Unsupported { repository, what, instead };
    }
    if message.contains("refstorage") {
        let (what, instead) = ("a reftable repository", "`git refs migrate --ref-format=files` converts it");
        return SourceError::Unsupported { repository, what, instead };
    }
    if error.class() == ErrorClass::Repository && message.contains("unsupported extension") {
        let (what, instead) = ("a repository with an unknown extension", "use a plain repository");
        return SourceError::Unsupported { repository, what, instead };
    }
    if error.code() == ErrorCode::NotFound {
        let root = Repository::discover(path).ok().and_then(|r| r.workdir().map(Path::to_owned));
        return SourceError::NotARepository { path: path.to_owned(), root };
    }
    SourceError::Broken { repository, detail: error.message().to_owned() }
}

fn head_branch(repository: &Repository, shown: &str) -> Result<String, SourceError> {
    let head = repository
        .find_reference("HEAD")
        .map_err(|e| SourceError::Broken { repository: shown.to_owned(), detail: e.message().to_owned() })?;
    match head.symbolic_target() {
        Ok(Some(target)) => Ok(target.strip_prefix("refs/heads/").unwrap_or(target).to_owned()),
        _ => Err(SourceError::DetachedHead { repository: shown.to_owned() }),
    }
}

fn choose_base(
    shown: &str,
    heads: Vec<(String, CommitId)>,
    base: Option<&str>,
    default: impl FnOnce() -> Result<String, SourceError>,
) -> Result<(String, CommitId), SourceError> {
    if heads.is_empty() {
        return Err(SourceError::Empty { repository: shown.to_owned() });
    }
    let branch = match base {
        Some(branch) => branch.strip_prefix("refs/heads/").unwrap_or(branch).to_owned(),
        None => default()?,
    };
    let mut existing = Vec::new();
    for (name, commit) in heads {
        if name == branch {
            return Ok((branch, commit));
        }
        existing.push(name);
    }
    existing.sort();
    Err(SourceError::BaseMissing { repository: shown.to_owned(), branch, existing })
}

/// Changes in the work tree. libgit2 starts no program and, so asked, writes no index.
fn dirty_paths(repository: &Repository) -> Result<(Vec<DirtyPath>, usize), git2::Error> {
    let mut options = StatusOptions::new();
    options.include_untracked(true).recurse_untracked_dirs(false).exclude_submodules(true).update_index(false);
    let statuses = repository.statuses(Some(&mut options))?;
    let index = repository.index()?;
    // A sparse checkout leaves files out on purpose.
    let left_out = |entry: &git2::StatusEntry<'_>| {
        entry.status() == git2::Status::WT_DELETED
            && std::str::from_utf8(entry.path_bytes())
                .ok()
                .and_then(|path| index.get_path(Path::new(path), 0))
                .is_some_and(|found| found.flags_extended & SKIP_WORKTREE != 0)
    };
    let changed = || statuses.iter().filter(|entry| !left_out(entry));
    let dirty = changed()
        .take(MAX_DIRTY_LISTED)
        .map(|entry| DirtyPath {
            path: String::from_utf8_lossy(entry.path_bytes()).into_owned(),
            untracked: entry.status() == git2::Status::WT_NEW,
        })
        .collect();
    Ok((dirty, changed().count()))
}

async fn inspect_url(git: &Git, source: &Source, url: &str, base: Option<&str>) -> Result<Inspection, SourceError> {
    let call =
        Call::outside().args(["ls-remote", "--symref", "--", url, "HEAD", "refs/heads/*"]).transports(TRANSPORTS);
    let answer = git.run(call).await?;
    let shown = source.display();
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    let mut head = None;
    let mut heads = Vec::new();
    for line in text.lines() {
        let Some((left, name)) = line.split_once('\t') else { continue };
        if let Some(target) = left.strip_prefix("ref: refs/heads/") {
            head = Some(target.to_owned());
        } else if let Some(branch) = name.strip_prefix("refs/heads/") {
            if left.len() != 40 {
                let (what, instead) = ("a SHA-256 repository", "use a SHA-1 repository");
                return Err(SourceError::Unsupported { repository: shown, what, instead });
            }
            let commit = CommitId::new(left)
                .map_err(|e| SourceError::Broken { repository: shown.clone(), detail: e.to_string() })?;
            heads.push((branch.to_owned(), commit));
        }
    }
    let (base_branch, base_commit) = choose_base(&shown, heads.clone(), base, || {
        head.ok_or_else(|| SourceError::DetachedHead { repository: shown.clone() })
    })?;
    let mut branches: Vec<String> = heads.into_iter().map(|(name, _)| name).collect();
    branches.sort();
    Ok(Inspection { base_branch, base_commit, branches, dirty: Vec::new(), dirty_count: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_can_not_stand_where_a_folder_of_branches_is_needed() {
        let inspection = Inspection {
            base_branch: "main".into(),
            base_commit: CommitId::new("0").unwrap(),
            branches: vec!["feature".into(), "main".into(), "necro/a/b".into()],
            dirty: Vec::new(),
            dirty_count: 0,
        };
        for (wanted, free) in [
            ("feature/x", false),
            ("necro/a", false),
            ("necro/b", true),
            ("features/x", true),
            ("main", true),
            ("mai", true),
        ] {
            assert_eq!(inspection.check_branch_free(wanted).is_ok(), free, "{wanted}");
        }
    }
}
