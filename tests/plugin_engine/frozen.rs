//! Components of the contract's releases: built from sources that are kept as they were, they run on this
//! host; and this host's contract only adds to theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use necro_host::domain::id::{Instance, Role, SpecName, TaskId};
use necro_host::domain::policy::{Pool, ReadyTask};
use necro_host::domain::review::{Change, ChangedFile, Check, DiffLine, Hunk, LineKind, Severity};
use necro_host::domain::work::ChangeKind;
use necro_host::plugin::{Expectation, PluginKind};
use necro_host::store::digest_of;

use crate::examples::example_bytes;
use crate::fakes::{assignment, candidates, context, engine, issue};

/// Releases, with the digest of what is kept of each.
const RELEASES: &[(&str, &str)] = &[("0.1.0", "804536c6e602cbdff7fcb59d3d03ca6869af1102bda86b82fce181ec0d6c944f")];

fn folder(release: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/guests/frozen").join(release)
}

/// Every file below a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

#[test]
fn what_was_released_is_kept_as_it_was() {
    for (release, digest) in RELEASES {
        let folder = folder(release);
        let mut kept = Vec::new();
        for file in files(&folder) {
            kept.extend(file.strip_prefix(&folder).unwrap().to_str().unwrap().as_bytes());
            kept.push(0);
            kept.extend(std::fs::read(&file).unwrap());
            kept.push(0);
        }
        let found = digest_of(&kept);
        assert_eq!(found.as_str(), *digest, "the sources of release {release} never change; new ones get a new folder");
    }
}

/// Every item of each interface and world: records, variants, enums, functions, imports, exports; without
/// comments, and with one space between words.
fn items(wit: &Path) -> BTreeMap<(String, String), String> {
    let mut found = BTreeMap::new();
    for file in files(wit) {
        let text = std::fs::read_to_string(file).unwrap();
        let code: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap()).collect();
        let code = code.join(" ").replace('{', " { ").replace('}', " } ").replace(';', " ; ");
        let (mut place, mut item, mut depth) = (String::new(), Vec::new(), 0);
        for word in code.split_whitespace() {
            match word {
                "{" if depth == 0 => {
                    place = std::mem::take(&mut item).join(" ");
                    depth = 1;
                    continue;
                }
                // `use types.{a, b};` has no depth of its own that matters.
                "{" => depth += 1,
                "}" if depth == 1 => {
                    depth = 0;
                    continue;
                }
                "}" => depth -= 1,
                _ => {}
            }
            let is_end = (word == ";" && depth <= 1) || (word == "}" && depth == 1 && item[0] != "use");
            item.push(word);
            if is_end {
                let text = std::mem::take(&mut item).join(" ");
                let name = text.split([':', '{', ';']).next().unwrap().trim().to_owned();
                found.insert((place.clone(), if name.starts_with("use ") { text.clone() } else { name }), text);
            }
        }
    }
    found
}

#[test]
fn this_contract_only_adds_to_what_was_released() {
    let now = items(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit"));
    for (release, _) in RELEASES {
        let released = items(&folder(release).join("wit"));
        assert!(released.len() > 80, "{} items were read", released.len());
        for ((place, name), text) in &released {
            let same = now.get(&(place.clone(), name.clone()));
            // The package's own line says the version.
            if !text.starts_with("package ") {
                assert_eq!(same, Some(text), "`{name}` of {place} was changed or removed since {release}");
            }
        }
        // What a world has to export, components of the release have not.
        let exports = |items: &BTreeMap<(String, String), String>| -> BTreeSet<String> {
            items.iter().filter(|(_, text)| text.starts_with("export ")).map(|(key, _)| format!("{key:?}")).collect()
        };
        assert_eq!(exports(&now), exports(&released));
    }
}

fn component(release: &str, kind: &str) -> (String, Vec<u8>) {
    let name = format!("frozen_{}_{kind}", release.replace('.', "_"));
    let bytes = example_bytes(&name);
    (name, bytes)
}

#[tokio::test]
async fn a_spirit_of_each_release_makes_every_call() {
    for (release, _) in RELEASES {
        let (name, bytes) = component(release, "spirit");
        let plugin = engine().load(&name, bytes, Expectation::Kind(PluginKind::Spirit)).await.unwrap();
        assert_eq!(plugin.describe_role().await.result.unwrap().role.as_str(), "frozen");
        let (context, fake) = context(PluginKind::Spirit);
        let report = plugin.perform(context, assignment(), "").await.result.unwrap();
        for function in necro_host::domain::call::Function::ALL {
            let start = format!("{}: ", function.name());
            let made = fake.steps().iter().any(|step| step.contains(&format!(" {} ", function.name())));
            let is_silent = ["lock.release", "log.emit"].contains(&function.name());
            assert!(made, "{} was not called", function.name());
            assert!(is_silent || report.summary.lines().any(|line| line.starts_with(&start)), "{}", report.summary);
        }
        for line in report.summary.lines().filter(|line| !line.starts_with("told: ")) {
            assert!(!line.contains(": denied"), "{line}");
        }
        assert!(report.summary.starts_with("told: implement issue_assignment backend_spirit_1"), "{}", report.summary);
    }
}

#[tokio::test]
async fn policies_of_each_release_decide() {
    for (release, _) in RELEASES {
        let (name, bytes) = component(release, "routing");
        let plugin = engine().load(&name, bytes, Expectation::Kind(PluginKind::Routing)).await.unwrap();
        let (asked, _) = context(PluginKind::Routing);
        let decision = plugin.route(asked, &issue(), &candidates(2), "", "s").await.result.unwrap();
        assert_eq!(decision.instance, Instance::of(&Role::new("backend").unwrap(), 1));
        let told = "1 a title a text [] 0 [\"api\"] 0/1 0 None";
        assert_eq!((decision.reason.as_str(), decision.state.as_str(), decision.scores.len()), (told, "s+", 1));
        let (asked, _) = context(PluginKind::Routing);
        let error = plugin.route(asked, &issue(), &[], "", "").await.result.unwrap_err();
        assert!(matches!(error, necro_host::plugin::ExecutionError::Failure { .. }), "{error}");

        let (name, bytes) = component(release, "scheduling");
        let plugin = engine().load(&name, bytes, Expectation::Kind(PluginKind::Scheduling)).await.unwrap();
        let ready = ReadyTask {
            spec: SpecName::new("login").unwrap(),
            task: TaskId::new("1").unwrap(),
            title: "a title".into(),
            skill: Some("qa".into()),
            priority: -1,
            waiting_ms: 5,
            dependents: 2,
            remaining_path: 3,
            attempt: 1,
        };
        let pool = |name: &str, skills: &[&str]| Pool {
            name: name.into(),
            capacity: 2,
            running: 1,
            skills: skills.iter().map(|skill| (*skill).to_owned()).collect(),
        };
        let pools = [pool("ops", &["devops"]), pool("qa", &["qa"])];
        let (asked, fake) = context(PluginKind::Scheduling);
        let plan = plugin.order(asked, &[ready], &pools, "", "").await.result.unwrap();
        assert_eq!((plan.placements.len(), plan.placements[0].pool.as_str(), plan.state.as_str()), (1, "qa", "+"));
        assert_eq!(fake.logged(), ["info a title -1 5 2 3 1 []"]);
    }
}

#[tokio::test]
async fn a_heuristic_of_each_release_sees_and_finds_everything() {
    for (release, _) in RELEASES {
        let (name, bytes) = component(release, "review");
        let plugin = engine().load(&name, bytes, Expectation::Kind(PluginKind::Review)).await.unwrap();
        assert_eq!(plugin.describe_heuristic().await.result.unwrap().rules.len(), 3);
        let lines = [LineKind::Context, LineKind::Removed, LineKind::Added];
        let lines = lines.map(|kind| DiffLine { kind, text: "x".into() }).to_vec();
        let file = ChangedFile {
            path: "a.rs".into(),
            change: ChangeKind::Modified,
            binary: false,
            size_bytes: 2,
            hunks: vec![Hunk { old_start: 3, new_start: 4, lines }],
        };
        let change = Change {
            spec: SpecName::new("login").unwrap(),
            task: TaskId::new("1").unwrap(),
            title: "a title".into(),
            text: "a text".into(),
            commit_title: "do it".into(),
            instance: "qa_spirit_1".into(),
            role: Role::new("qa").unwrap(),
            attempt: 2,
            files: vec![file],
            checks: vec![Check { name: "test".into(), passed: true, output: "ok".into() }],
        };
        let (asked, _) = context(PluginKind::Review);
        let found = plugin.review(asked, &change, "").await.result.unwrap();
        let told: Vec<(Severity, &str)> = found.iter().map(|f| (f.severity, f.message.as_str())).collect();
        let expected = [
            (Severity::Note, "login 1 a title a text do it qa_spirit_1 qa 2"),
            (Severity::Warn, r#"["a.rs modified false 2 [\"3 4  -+\"]"] ["test true ok"]"#),
            (Severity::Block, "a.txt 2 1 1 1 false 1 messages"),
        ];
        assert_eq!(told, expected);
    }
}
