//! The demo, as the README shows it: from a job to merged commits, twice the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use necro_host::domain::event::{Body, Outcome};
use necro_host::domain::protocol::{attempt_ref, parse_branch, parse_commit};
use necro_host::domain::review::Severity;
use necro_host::registry::ArtifactRecord;
use serde_json::Value;

use crate::records::Records;
use crate::world::{World, finish, git, mirror_below, plain};

/// A demo that has ended.
struct Played {
    world: World,
    summary: Value,
}

impl Played {
    fn play(args: &[&str]) -> Self {
        let world = World::new(&[("README.md", "")]);
        let summary = finish(world.binary().args(["run", "--demo", "--json"]).args(args)).done();
        Self { world, summary }
    }

    fn text(&self, field: &str) -> &str {
        self.summary[field].as_str().unwrap_or_else(|| panic!("no {field} in {}", self.summary))
    }

    fn repository(&self) -> PathBuf {
        self.text("repository").into()
    }

    fn records(&self) -> Records {
        Records::open(Path::new(self.text("state")))
    }

    fn mirror(&self) -> PathBuf {
        mirror_below(Path::new(self.text("state")))
    }
}

#[test]
fn the_demo_turns_a_job_into_merged_commits_and_the_same_tree_twice() {
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| Played::play(&[]));
        let second = scope.spawn(|| Played::play(&["--max-parallel", "2"]));
        (first.join().unwrap(), second.join().unwrap())
    });
    assert_eq!(first.text("tree"), second.text("tree"), "two runs do not give the same tree");
    assert_ne!(first.text("run"), second.text("run"));
    for played in [&first, &second] {
        the_summary_says_what_was_done(played);
        several_roles_work_and_two_attempts_overlap(&played.records());
        a_red_gate_is_mended(&played.records());
        a_blocking_finding_is_mended(&played.records());
        every_attempt_leaves_diff_log_and_test_result(&played.records());
        commits_and_branches_can_be_read_back(played);
        the_users_repository_has_its_one_commit_and_nothing_else(played);
        played.records().assert_sound();
    }
    the_merged_tree_passes_its_tests(&first);
}

#[test]
fn the_japanese_demo_writes_its_spec_in_japanese_and_git_takes_its_branches() {
    let played = Played::play(&["--lang", "ja"]);
    the_summary_says_what_was_done(&played);
    let japanese =
        |text: &str| text.chars().filter(|c| matches!(c, '\u{3041}'..='\u{30ff}' | '\u{4e00}'..='\u{9fff}')).count();
    for file in ["requirements.md", "design.md", "tasks.md"] {
        let path = format!("{}:.kiro/specs/{}/{file}", played.text("commit"), played.text("spec"));
        let text = git(&played.mirror(), &["show", &path]);
        assert!(japanese(&text) > 100, "{file}:\n{text}");
    }
    commits_and_branches_can_be_read_back(&played);
    played.records().assert_sound();
}

fn the_summary_says_what_was_done(played: &Played) {
    let Value::Object(summary) = &played.summary else { panic!("no object: {}", played.summary) };
    for field in ["run", "spec", "branch", "tree", "tasks", "attempts", "findings", "cost"] {
        assert!(summary.contains_key(field), "no {field} in {}", played.summary);
    }
    let count = |name: &str| played.summary["tasks"][name].as_u64().unwrap();
    assert!(count("total") >= 6 && count("done") == count("total") && count("failed") == 0, "{}", played.summary);
    let records = played.records();
    assert_eq!(count("total"), u64::try_from(records.tasks().len()).unwrap());
    let attempts = records.reader.attempts_of_spec(&records.spec).unwrap().len();
    assert_eq!(played.summary["attempts"].as_u64(), u64::try_from(attempts).ok());
    let tree = git(&played.mirror(), &["rev-parse", &format!("refs/heads/{}^{{tree}}", played.text("branch"))]);
    assert_eq!(tree, played.text("tree"));
}

fn several_roles_work_and_two_attempts_overlap(records: &Records) {
    let roles: BTreeSet<String> = records.work().iter().map(|attempt| attempt.instance.role().to_string()).collect();
    assert!(roles.len() >= 4, "{roles:?}");
    let mut open: BTreeMap<String, u64> = BTreeMap::new();
    let mut most = 0;
    for event in records.events() {
        match event.body {
            Body::RunnerStarted { runner, .. } => drop(open.insert(runner, event.sequence)),
            Body::RunnerFinished { runner, .. } => drop(open.remove(&runner)),
            _ => {}
        }
        most = most.max(open.len());
    }
    assert!(most >= 2, "never were two attempts under way");
    assert!(open.is_empty(), "attempts without an end: {open:?}");
}

fn a_red_gate_is_mended(records: &Records) {
    let red = |attempt: &necro_host::registry::Attempt| attempt.gates.iter().any(|g| g.checks.iter().any(|c| !c.1));
    let failed = records.work().into_iter().find(|a| a.outcome == Some(Outcome::Failed) && red(a)).unwrap();
    let task = failed.key.key.task.as_str();
    let next = records.attempts(task).into_iter().find(|a| a.key.attempt == failed.key.attempt + 1).unwrap();
    assert_eq!(next.outcome, Some(Outcome::Success));
    assert!(records.told(task, next.key.attempt).contains("The command `test` failed"));
}

fn a_blocking_finding_is_mended(records: &Records) {
    let found = records.tasks().into_iter().find_map(|task| {
        let findings = records.reader.findings(&task.key).unwrap();
        findings.into_iter().find(|f| f.finding.severity == Severity::Block).map(|finding| (task, finding))
    });
    let (task, finding) = found.unwrap();
    let (id, number) = (task.key.task.as_str(), finding.attempt.unwrap());
    let attempts = records.attempts(id);
    let outcome = |number: u32| attempts.iter().find(|a| a.key.attempt == number).unwrap().outcome;
    assert_eq!((outcome(number), outcome(number + 1)), (Some(Outcome::Failed), Some(Outcome::Success)));
    let blocked = attempts.iter().find(|a| a.key.attempt == number).unwrap();
    assert!(blocked.gates.iter().all(|gate| gate.checks.iter().all(|check| check.1)), "the gate was red as well");
    assert!(records.told(id, number + 1).contains(&finding.finding.rule));
}

fn every_attempt_leaves_diff_log_and_test_result(records: &Records) {
    for attempt in records.reader.attempts_of_spec(&records.spec).unwrap() {
        let artifacts = records.reader.artifacts(&attempt.key.key).unwrap();
        let own: Vec<_> = artifacts.iter().filter(|a| a.attempt == Some(attempt.key.attempt)).collect();
        for (kind, name) in [("diff", "change.diff"), ("log", "attempt.log"), ("test", "gate.json")] {
            let full = format!("{}-{}-{name}", attempt.key.key.task, attempt.key.attempt);
            let is_one = |a: &&ArtifactRecord| a.artifact.kind == kind && a.artifact.name == full;
            let of_kind: Vec<_> = own.iter().copied().filter(is_one).collect();
            let [one] = of_kind[..] else { panic!("{} has {} {kind}s", attempt.key, of_kind.len()) };
            assert!(one.artifact.size_bytes > 0 && one.artifact.uri.starts_with("artifact:"), "{one:?}");
        }
    }
}

fn commits_and_branches_can_be_read_back(played: &Played) {
    let (mirror, records) = (played.mirror(), played.records());
    let branch = played.text("branch");
    let log = git(&mirror, &["log", "--format=%B%x00", branch]);
    let messages: Vec<&str> = log.split('\0').map(str::trim_start).filter(|text| !text.is_empty()).collect();
    let (ours, users): (Vec<&str>, Vec<&str>) = messages.iter().partition(|text| text.starts_with("spirit("));
    assert_eq!(users.len(), 1, "only the first commit is the user's: {users:?}");
    assert!(ours.len() >= 2 * records.tasks().len());
    for message in ours {
        let commit =
            parse_commit(&format!("{}\n", message.trim_end())).unwrap_or_else(|error| panic!("{error}: {message}"));
        assert_eq!(commit.attempt().key.spec, records.spec);
        for trailer in ["Spec: ", "Task: ", "Spirit: ", "Attempt: "] {
            assert!(message.lines().any(|line| line.starts_with(trailer)), "no {trailer}in {message}");
        }
    }
    for attempt in records.reader.attempts_of_spec(&records.spec).unwrap() {
        let kept = git(&mirror, &["rev-parse", &attempt_ref(&attempt.key)]);
        assert_eq!(kept, attempt.commit.unwrap().as_str(), "{}", attempt.key);
    }
    for attempt in records.work() {
        git(&mirror, &["check-ref-format", "--branch", &attempt.branch]);
        git(&mirror, &["rev-parse", "--verify", &format!("refs/heads/{}", attempt.branch)]);
        parse_branch(&attempt.branch, [&records.spec]).unwrap();
    }
    git(&mirror, &["check-ref-format", "--branch", branch]);
    for task in records.tasks() {
        let merged = task.merged_commit.unwrap();
        git(&mirror, &["merge-base", "--is-ancestor", &merged, branch]);
    }
}

fn the_users_repository_has_its_one_commit_and_nothing_else(played: &Played) {
    let repository = played.repository();
    assert_eq!(git(&repository, &["for-each-ref", "--format=%(refname)"]), "refs/heads/main");
    assert_eq!(git(&repository, &["rev-list", "--all", "--count"]), "1");
    assert_eq!(git(&repository, &["status", "--porcelain", "--untracked-files=all"]), "");
}

fn the_merged_tree_passes_its_tests(played: &Played) {
    let place = played.world.path("merged");
    git(
        &played.world.path("."),
        &[
            "clone",
            "-q",
            "--branch",
            played.text("branch"),
            &played.mirror().display().to_string(),
            &place.display().to_string(),
        ],
    );
    let tested = finish(plain("cargo").args(["test", "--offline", "--quiet"]).current_dir(&place));
    assert_eq!(tested.code, Some(0), "{tested:#?}");
    assert!(place.join("scripts/share.sh").exists() && place.join("tests/flow.rs").exists());
}
