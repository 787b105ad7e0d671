//! Submodules in slots, when the operator asks for them. Which there are and where they come from is said by the
//! `.gitmodules` of the run's base commit, as hostile as any file of a repository; which commit of each, by the tree
//! that a slot is made of. Their objects are kept in the mirror, their files lie in the work tree as plain files, and
//! nothing of git's stands beside them. They are there to be read: a change in one is refused and kept, not committed.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;
use git2::{FileMode, Index, ObjectType, Oid, Repository};

use super::clean::{empty_dir, write};
use super::git::Call;
use super::mirror::{Mirror, SERVE_ACCEPTED};
use super::objects::{Objects, TreeId, commit_id};
use super::path::is_reserved;
use super::place::Place;
use super::source::{Source, SourceError, TRANSPORTS};
use super::step::{New, put};
use super::tracked::Tracked;
use super::{WorkspaceError, blocking};
use crate::domain::id::CommitId;

/// More of them are refused.
const MAX_MODULES: usize = 64;
/// The file that names them.
const FILE: &str = ".gitmodules";
/// Keeps their commits in the mirror.
const REFS: &str = "refs/modules/";
/// Where `host/<n>` keeps what is known of those that were filled.
pub(super) const RECORDS: &str = "modules";
/// Largest `.gitmodules` that is read, in bytes.
const MAX_FILE_BYTES: usize = 256 * 1024;

/// One submodule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Module {
    /// Where it is in the work tree.
    path: String,
    /// Where its commits are: a path or an address.
    from: OsString,
}

impl Mirror {
    /// From now on slots hold the submodules that `base` names. Nothing is copied yet.
    ///
    /// # Errors
    /// [`SourceError::Module`]: one of them cannot be had, in words.
    pub async fn with_modules(&self, base: &CommitId) -> Result<(), SourceError> {
        let broken = |error: WorkspaceError| SourceError::Broken {
            repository: self.source().display(),
            detail: error.in_words(),
        };
        let base = base.clone();
        let text = self.objects(move |objects| objects.read_file(&objects.tree_of(&base)?, FILE));
        let Some(text) = text.await.map_err(broken)? else { return Ok(()) };
        let refused = |name: &str, reason: String| SourceError::Module { name: name.to_owned(), reason };
        if text.len() > MAX_FILE_BYTES {
            return Err(refused(FILE, format!("the file has more than {MAX_FILE_BYTES} bytes")));
        }
        let call = Call::outside()
            .args(["config", "--file=-", "--no-includes", "--null", "--get-regexp"])
            .args([r"^submodule\..*\.(path|url)$"])
            .stdin(text)
            .accept(&[0, 1]);
        let answer = self.outside().run(call).await?;
        let mut modules = Vec::new();
        for (name, path, url) in named(&String::from_utf8_lossy(&answer.stdout)) {
            if !is_plain(&path) || !is_plain(&name) {
                return Err(refused(&name, "its name or its path is none of a folder in the repository".to_owned()));
            }
            let from = match self.source() {
                Source::Path(root) => own(root, &name)?,
                Source::Url(source) => {
                    resolved(source, &url).map_err(|reason| refused(&name, reason.to_owned()))?.into()
                }
            };
            modules.push(Module { path, from });
        }
        if modules.len() > MAX_MODULES {
            return Err(refused(FILE, format!("it names {}, and {MAX_MODULES} are allowed", modules.len())));
        }
        // A second run of the same process would say the same.
        let _ = self.modules.set(modules);
        Ok(())
    }

    /// Copies a commit of a submodule, unless it is there.
    async fn fetch_module(&self, module: &Module, commit: &CommitId) -> Result<(), WorkspaceError> {
        let wanted = commit.clone();
        if self.objects(move |objects| Ok(objects.tree_of(&wanted).is_ok())).await? {
            return Ok(());
        }
        let is_path = Path::new(&module.from).is_absolute();
        let call = Call::on(self.path())
            .args(["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance"])
            .args(["--no-recurse-submodules"])
            .args(is_path.then_some(SERVE_ACCEPTED))
            .args([OsString::from("--"), module.from.clone(), format!("{commit}:{REFS}{commit}").into()])
            .transports(TRANSPORTS);
        self.git(call).await.map(|_| ())
    }
}

impl Place {
    /// Puts the submodules of `tree` into a work tree that holds it.
    pub(super) async fn fill(&self, tree: &TreeId) -> Result<(), WorkspaceError> {
        let Some(modules) = self.mirror.modules.get().filter(|modules| !modules.is_empty()) else { return Ok(()) };
        let (wanted, paths) = (tree.clone(), modules.iter().map(|module| module.path.clone()).collect::<Vec<_>>());
        let links = self.mirror.objects(move |objects| links(&objects.open()?, &wanted, &paths)).await?;
        for (module, link) in modules.iter().zip(links) {
            let Some(commit) = link else { continue };
            self.mirror.fetch_module(module, &commit).await?;
            let (room, path, ground) =
                (self.host().to_owned(), module.path.clone(), std::sync::Arc::clone(&self.ground));
            let filled = self.mirror.objects(move |objects| {
                let dir = ground.open_work()?.open_dir(&path).map_err(WorkspaceError::io(Path::new(&path)))?;
                fill(objects, &dir, &Record::of(&room.join(RECORDS), path.as_bytes()), &commit)
            });
            filled.await?;
        }
        Ok(())
    }
}

/// What each of `paths` links to in a tree.
fn links(repository: &Repository, tree: &TreeId, paths: &[String]) -> Result<Vec<Option<CommitId>>, WorkspaceError> {
    let tree = super::objects::find_tree(repository, tree)?;
    let link = |path: &String| {
        let entry = tree.get_path(Path::new(path)).ok()?;
        (entry.filemode() == i32::from(FileMode::Commit)).then(|| commit_id(entry.id()))
    };
    Ok(paths.iter().map(link).collect())
}

/// What is known of a submodule that was filled: of which commit, and the metadata of its files.
pub(super) struct Record {
    dir: PathBuf,
}

impl Record {
    /// That of the submodule at `path`.
    pub(super) fn of(records: &Path, path: &[u8]) -> Self {
        let name = Oid::hash_object(ObjectType::Blob, path).map_or_else(|_| "none".to_owned(), |id| id.to_string());
        Self { dir: records.join(name) }
    }

    /// Whether there is one.
    pub(super) fn is_there(&self) -> bool {
        self.dir.join("commit").exists()
    }

    /// Whether `dir` holds just what it was filled with, of this commit.
    pub(super) fn is_held(&self, dir: &Dir, commit: Oid) -> bool {
        fs::read_to_string(self.dir.join("commit")).is_ok_and(|text| text == commit.to_string())
            && Tracked::read(&self.dir.join("index"))
                .and_then(|(tracked, _)| tracked.of_module().is_all_of(dir))
                .unwrap_or(false)
    }
}

fn fill(objects: &Objects, dir: &Dir, record: &Record, commit: &CommitId) -> Result<(), WorkspaceError> {
    let repository = objects.open()?;
    let tree = objects.tree_of(commit)?;
    let names = objects.index_of(&repository, &tree)?;
    if record.is_held(dir, super::objects::find_commit(&repository, commit)?.id()) {
        return Ok(());
    }
    let io = WorkspaceError::io(&record.dir);
    super::clean::remove(&record.dir)?;
    fs::create_dir_all(&record.dir).map_err(WorkspaceError::io(&record.dir))?;
    let written = crate::failpoint::writing("slot", "module", || {
        empty_dir(dir)?;
        let mut index = Index::open(&record.dir.join("index")).map_err(io::Error::other)?;
        for entry in names.iter() {
            if entry.path.split(|byte| *byte == b'/').any(|part| is_reserved(&String::from_utf8_lossy(part))) {
                return Err(io::Error::other(format!(
                    "`{}` has a name that git reserves",
                    String::from_utf8_lossy(&entry.path)
                )));
            }
            if entry.mode == u32::from(FileMode::Commit) {
                // One in a submodule stays empty.
                continue;
            }
            let new = New { path: entry.path, id: entry.id, mode: entry.mode, is_over: false };
            index.add(&put(&repository, dir, new)?).map_err(io::Error::other)?;
        }
        index.write().map_err(io::Error::other)
    });
    written.map_err(io)?;
    write(&record.dir.join("commit"), commit.as_str())
}

/// Name, path and address of each, of what `git config --null` printed.
fn named(printed: &str) -> Vec<(String, String, String)> {
    let mut found: std::collections::BTreeMap<String, (String, String)> = std::collections::BTreeMap::new();
    for record in printed.split('\0') {
        let Some((key, value)) = record.split_once('\n') else { continue };
        let Some((name, field)) = key.strip_prefix("submodule.").and_then(|rest| rest.rsplit_once('.')) else {
            continue;
        };
        let one = found.entry(name.to_owned()).or_default();
        // The first counts: what comes later would speak over it.
        let slot = if field == "path" { &mut one.0 } else { &mut one.1 };
        if slot.is_empty() {
            value.clone_into(slot);
        }
    }
    found.into_iter().filter(|(_, (path, _))| !path.is_empty()).map(|(name, (path, url))| (name, path, url)).collect()
}

/// Whether this names a folder below another one.
fn is_plain(path: &str) -> bool {
    !path.is_empty()
        && path.len() <= 1_000
        && !path.contains(['\0', '\n', '\\'])
        && path.split('/').all(|part| !matches!(part, "" | "." | "..") && !is_reserved(part))
}

/// Where a repository on this machine keeps what its user has fetched of a submodule. No address is asked.
fn own(root: &Path, name: &str) -> Result<OsString, SourceError> {
    let dir = Repository::open(root).map_or_else(|_| root.join(".git"), |found| found.commondir().to_owned());
    let there = dir.join("modules").join(name);
    if there.join("objects").is_dir() {
        return Ok(there.into_os_string());
    }
    Err(SourceError::Module {
        name: name.to_owned(),
        reason: format!("it is not in {} yet; type `git submodule update --init` there", root.display()),
    })
}

/// The address of a submodule of the repository at `source`: relative to it, or on the same server by the same way.
fn resolved(source: &str, url: &str) -> Result<String, &'static str> {
    let trimmed = source.trim_end_matches('/');
    if url.starts_with("./") || url.starts_with("../") {
        let mut base = trimmed.to_owned();
        for part in url.trim_end_matches('/').split('/') {
            match part {
                "" | "." => {}
                ".." => base = parent(&base).ok_or("its address leads above the server")?.to_owned(),
                name => base = format!("{base}/{name}"),
            }
        }
        return Ok(base);
    }
    let server = |address: &str| -> Option<(String, String)> {
        let (scheme, rest) = address.split_once("://")?;
        let authority = rest.split('/').next()?;
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        Some((scheme.to_owned(), host.to_lowercase()))
    };
    match (server(source), server(url)) {
        (Some(ours), Some(theirs)) if ours == theirs && ours.0 != "file" && !url.contains(char::is_whitespace) => {
            Ok(url.to_owned())
        }
        _ => Err("its address is on another server than the repository's, or none that is known; have it in the \
                  repository, or fetch it by a command with `network = true`"),
    }
}

/// An address without its last part; none when only the server is left.
fn parent(address: &str) -> Option<&str> {
    let start = address.find("://").map_or(0, |at| at + 3);
    let (at, _) = address[start..].char_indices().rev().find(|(_, c)| matches!(c, '/' | ':'))?;
    Some(&address[..start + at])
}

/// Looks whether submodules that were filled are what they were filled with. Gives the paths of those that are not.
pub(super) async fn changed(place: &Place) -> Result<Vec<String>, WorkspaceError> {
    if place.mirror.modules.get().is_none_or(Vec::is_empty) {
        return Ok(Vec::new());
    }
    let (ground, index) = (std::sync::Arc::clone(&place.ground), place.index.clone());
    blocking(move || {
        let work = ground.open_work()?;
        let (tracked, _) = Tracked::read(&index).map_err(WorkspaceError::io(&index))?;
        Ok(tracked.changed_modules(&work))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_on_the_server_of_the_repository_or_none() {
        let source = "https://git.example.org/team/app.git";
        for (url, expected) in [
            ("../lib.git", Some("https://git.example.org/team/lib.git")),
            ("../../other/lib", Some("https://git.example.org/other/lib")),
            ("./part", Some("https://git.example.org/team/app.git/part")),
            ("https://git.example.org/x/y.git", Some("https://git.example.org/x/y.git")),
            ("https://me:secret@GIT.example.org/x", Some("https://me:secret@GIT.example.org/x")),
            ("https://evil.example.org/x", None),
            ("https://git.example.org@evil.example.org/x", None),
            ("http://git.example.org/x", None),
            ("ssh://git.example.org/x", None),
            ("ext::sh -c true", None),
            ("file:///etc", None),
            ("/etc", None),
            ("git@git.example.org:x", None),
            ("../../../../x", None),
            ("", None),
            ("-u", None),
        ] {
            assert_eq!(resolved(source, url).ok().as_deref(), expected, "{url}");
        }
        assert_eq!(resolved("git@host:team/app.git", "../lib.git").unwrap(), "git@host:team/lib.git");
        assert_eq!(resolved("file:///home/me/app", "../lib").unwrap(), "file:///home/me/lib");
        assert!(resolved("file:///home/me/app", "file:///etc").is_err());
    }

    #[test]
    fn a_name_or_a_path_stays_in_its_folder() {
        for (path, expected) in [
            ("lib", true),
            ("vendor/lib", true),
            ("部品", true),
            ("", false),
            ("../x", false),
            ("a/../../x", false),
            ("/etc", false),
            (".git/hooks", false),
            ("a/.GIT", false),
            ("a\nb", false),
        ] {
            assert_eq!(is_plain(path), expected, "{path:?}");
        }
    }

    #[test]
    fn what_is_said_twice_counts_as_it_is_said_first() {
        let printed =
            "submodule.a.path\nlib\0submodule.a.url\n../a\0submodule.a.url\next::x\0submodule.b.c.path\nbc\0x\0";
        let expected = [("a", "lib", "../a"), ("b.c", "bc", "")];
        let expected = expected.map(|(name, path, url)| (name.to_owned(), path.to_owned(), url.to_owned()));
        assert_eq!(named(printed), expected);
    }
}
