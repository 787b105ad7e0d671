//! A mirror with branches that wait to be integrated, and a gate of a real command over real checkouts: the
//! integration without spirits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use necro_host::config::MergeStrategy;
use necro_host::domain::id::{AttemptKey, CommitId, Instance, SpecName, TaskId, TaskKey};
use necro_host::domain::protocol::Commit;
use necro_host::domain::queue::Waiting;
use necro_host::service::ServiceError;
use necro_host::service::integration::{Candidate, Ground, Integrated, Judge, Judgement, Link, brought_in, round};
use necro_host::workspace::{Git, Identity, Mirror, NewCommit, Source, TreeId, seed_repository};

/// The spec whose branch is the target.
const SPEC: &str = "queue";

fn tasks_file() -> String {
    format!(".kiro/specs/{SPEC}/tasks.md")
}

/// The place.
pub(crate) struct Yard {
    dir: PathBuf,
    _temporary: Option<tempfile::TempDir>,
    pub(crate) ground: Ground,
    pub(crate) base: CommitId,
}

/// What became of all candidates, by task.
#[derive(Debug, Default)]
pub(crate) struct Drained {
    /// In the order in which they landed.
    pub(crate) landed: Vec<String>,
    pub(crate) conflicts: BTreeMap<String, (Vec<String>, String)>,
    pub(crate) returned: BTreeMap<String, String>,
    pub(crate) gates: u32,
    pub(crate) flakes: u32,
    /// Where the target stood after each round.
    pub(crate) tips: Vec<CommitId>,
}

impl Yard {
    /// With these files on the target, and a plan of so many tasks.
    pub(crate) async fn new(files: &[(&str, &str)], tasks: usize, strategy: MergeStrategy) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let yard = Self::make(temporary.path(), files, tasks, strategy).await;
        Self { _temporary: Some(temporary), ..yard }
    }

    /// The same in this empty folder.
    pub(crate) async fn make(dir: &Path, files: &[(&str, &str)], tasks: usize, strategy: MergeStrategy) -> Self {
        let at = jiff::Timestamp::constant(1_767_225_600, 0);
        let boxes: String = (1..=tasks).map(|n| format!("- [ ] {n}. Do {n}\n")).collect();
        let (tasks_file, plan) = (tasks_file(), format!("# Plan\n\n{boxes}"));
        let all = [files, &[(tasks_file.as_str(), plan.as_str())]].concat();
        seed_repository(&dir.join("repository"), &all, "Begin", at).unwrap();
        std::fs::create_dir(dir.join("state")).unwrap();
        let yard = Self::at(dir, strategy).await;
        let (name, tip) = (yard.ground.target.clone(), yard.base.clone());
        yard.ground.mirror.objects(move |objects| objects.update_ref(&name, &tip, None)).await.unwrap();
        yard
    }

    /// One that was made before, as another process finds it.
    pub(crate) async fn at(dir: &Path, strategy: MergeStrategy) -> Self {
        let state = dir.join("state");
        let git = Git::locate(&state).await.unwrap();
        let source = Source::parse("repository", dir).unwrap();
        let mirror = Mirror::open(git, &state.join("repos"), source).await.unwrap();
        mirror.fetch().await.unwrap();
        let base = mirror.branch_tip("main").await.unwrap().unwrap();
        let target = format!("refs/heads/necro/{SPEC}");
        let ground = Ground { mirror, target, tasks_file: tasks_file(), strategy };
        Self { dir: dir.to_owned(), _temporary: None, ground, base }
    }

    /// A branch on the base that writes these files.
    pub(crate) async fn branch(&self, task: usize, files: &[(&str, &str)]) -> Candidate {
        let candidate = self.candidate(task, self.base.clone());
        let Candidate { attempt, instance, scope, spell, judged_at, .. } = candidate.clone();
        let message = Commit::new(&scope, &spell, attempt, instance, None).message();
        let files: Vec<(String, Option<Vec<u8>>)> =
            files.iter().map(|(path, text)| ((*path).to_owned(), Some(text.as_bytes().to_vec()))).collect();
        let base = self.base.clone();
        let commit = self.ground.mirror.objects(move |objects| {
            let tree = objects.with_files(&objects.tree_of(&base)?, &files)?;
            let author = Identity { name: "backend_spirit_1".to_owned(), email: "b@localhost".to_owned() };
            let commit = objects.commit(&NewCommit { tree, parents: vec![base], message, author, time: judged_at })?;
            objects.update_ref(&format!("refs/necro/{SPEC}/{task}/1"), &commit, None)?;
            Ok(commit)
        });
        Candidate { commit: commit.await.unwrap(), ..candidate }
    }

    /// The candidate of a task whose branch has this commit.
    fn candidate(&self, task: usize, commit: CommitId) -> Candidate {
        let key = TaskKey { spec: SpecName::new(SPEC).unwrap(), task: TaskId::new(task.to_string()).unwrap() };
        Candidate {
            attempt: AttemptKey { key, attempt: 1 },
            instance: Instance::new("backend_spirit_1").unwrap(),
            commit,
            base: self.base.clone(),
            scope: "yard".to_owned(),
            spell: format!("do {task}"),
            judged_at: jiff::Timestamp::constant(1_767_225_700, 0),
        }
    }

    /// Branches of these tasks that were made before and are not on the target.
    pub(crate) async fn left(&self, tasks: std::ops::RangeInclusive<usize>) -> Vec<Candidate> {
        let tip = self.tip().await;
        let mut left = Vec::new();
        for task in tasks {
            let name = format!("refs/necro/{SPEC}/{task}/1");
            let commit = self.ground.mirror.objects(move |objects| objects.read_ref(&name)).await.unwrap().unwrap();
            let (candidate, tip) = (self.candidate(task, commit), tip.clone());
            let (looked_for, base) = (candidate.clone(), self.base.clone());
            let found = self
                .ground
                .mirror
                .objects(move |objects| brought_in(objects, &tip, &base, &looked_for.commit, &looked_for.attempt));
            if found.await.unwrap().is_none() {
                left.push(candidate);
            }
        }
        left
    }

    /// Where the target stands.
    pub(crate) async fn tip(&self) -> CommitId {
        let name = self.ground.target.clone();
        self.ground.mirror.objects(move |objects| objects.read_ref(&name)).await.unwrap().unwrap()
    }

    /// Checks a commit out, and gives where.
    pub(crate) fn check_out(&self, commit: &CommitId, name: &str) -> PathBuf {
        let folder = self.dir.join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        let mut git = program("git");
        git.arg("--git-dir").arg(self.ground.mirror.path()).arg("--work-tree").arg(&folder);
        git.env("GIT_INDEX_FILE", folder.with_extension("index"));
        let done = git.args(["checkout", "-q", "-f", commit.as_str(), "--", "."]).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        folder
    }

    /// Lets the queue work until nobody waits, in batches of at most `max`.
    pub(crate) async fn drain(&self, judge: &Shell<'_>, candidates: Vec<Candidate>, max: usize) -> Drained {
        let (mut waiting, mut drained) = (Waiting::default(), Drained::default());
        candidates.into_iter().for_each(|candidate| waiting.push(candidate, 0));
        while !waiting.is_empty() {
            let entries = waiting.take(max);
            let batch: Vec<Candidate> = entries.iter().map(|entry| entry.what.clone()).collect();
            let done = round(&self.ground, judge, &batch).await.unwrap();
            drained.tips.push(self.tip().await);
            drained.gates += done.gates;
            drained.flakes += done.flakes;
            for (entry, fate) in entries.into_iter().zip(done.fates) {
                let task = entry.what.attempt.key.task.to_string();
                match fate {
                    Integrated::Merged(_) => drained.landed.push(task),
                    Integrated::Conflict { files, text, .. } => drop(drained.conflicts.insert(task, (files, text))),
                    Integrated::Returned(reason) => drop(drained.returned.insert(task, reason)),
                    Integrated::Undecided => waiting.put_back(entry),
                    Integrated::Stopped => panic!("nobody stopped it"),
                }
            }
        }
        drained
    }
}

/// What is done before a gate; it is given the gate's number, from 1.
pub(crate) type Meanwhile<'a> = Box<dyn Fn(u32) -> Option<Judgement> + Send + Sync + 'a>;

/// A gate: `sh -c` in a checkout of the commit.
pub(crate) struct Shell<'a> {
    yard: &'a Yard,
    script: String,
    gates: Mutex<u32>,
    /// May speak in place of the command.
    pub(crate) meanwhile: Meanwhile<'a>,
}

impl<'a> Shell<'a> {
    pub(crate) fn new(yard: &'a Yard, script: &str) -> Self {
        Self { yard, script: script.to_owned(), gates: Mutex::new(0), meanwhile: Box::new(|_| None) }
    }

    /// Whether the gate is green over a commit.
    pub(crate) fn is_green(&self, commit: &CommitId) -> Result<(), String> {
        let folder = self.yard.check_out(commit, "checkout");
        let done = program("sh").args(["-c", &self.script]).current_dir(folder).output().unwrap();
        if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stdout).into_owned()) }
    }
}

impl Judge for Shell<'_> {
    fn is_known(&self, _: &TreeId) -> bool {
        false
    }

    async fn judge(&self, links: &[(&Candidate, Link)]) -> Result<Judgement, ServiceError> {
        let number = {
            let mut gates = self.gates.lock().unwrap();
            *gates += 1;
            *gates
        };
        if let Some(said) = (self.meanwhile)(number) {
            return Ok(said);
        }
        Ok(match self.is_green(&links.last().unwrap().1.commit) {
            Ok(()) => Judgement::Green,
            Err(reason) => Judgement::Red(reason),
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "a gate without the sandbox, and git's own word")]
fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    command
}

/// Runs git over the mirror.
pub(crate) fn git_in(mirror: &Path, args: &[&str]) -> String {
    let done = program("git").arg("--git-dir").arg(mirror).args(args).output().unwrap();
    assert!(done.status.success(), "git {args:?}: {done:?}");
    String::from_utf8_lossy(&done.stdout).trim_end().to_owned()
}
