//! Commands of an operator on slots, killed at every place that they pass and at full disks: what was in a slot and
//! nowhere else is kept, nobody gets a slot that is not clean, and the same command once more ends well.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::sites::{Act, Census, Point, count_into};
use crate::world::{World, files_below, git};

/// What is in a slot and nowhere else.
const PRECIOUS: &str = "hers alone\n";

/// One command, and how a slot looks before it.
struct Scene {
    name: &'static str,
    /// Makes it, and gives the command's words.
    set: fn(&Pool) -> Vec<String>,
    /// The command takes the slot itself away.
    removes: bool,
    /// Places that it must pass: where one is gone, this does not test what it says.
    sites: &'static [&'static str],
}

const SCENES: &[Scene] = &[
    Scene {
        name: "a slot with work in it is given back",
        set: |pool| {
            let lease = pool.acquire();
            pool.work(1);
            words(&["slot", "release", &lease])
        },
        removes: false,
        sites: &[
            "ref.rescue.before",
            "file.write.after",
            "git.read-tree.before",
            "slot.sweep.after",
            "git.commit.after",
        ],
    },
    Scene {
        name: "a slot with another repository in it is given back",
        set: |pool| {
            let lease = pool.acquire();
            pool.work(1);
            git(&pool.slot(1), &["init", "--quiet", "inner"]);
            fs::write(pool.slot(1).join("inner/precious.txt"), PRECIOUS).unwrap();
            words(&["slot", "release", &lease])
        },
        removes: false,
        sites: &["slot.set-aside.before", "slot.set-aside.after", "git.read-tree.after", "slot.tool-repository.after"],
    },
    Scene {
        name: "a slot with work in it is removed",
        set: |pool| {
            pool.work(1);
            words(&["slot", "rm", "1"])
        },
        removes: true,
        sites: &["ref.rescue.after", "slot.remove.before", "slot.remove.after"],
    },
    Scene {
        name: "a slot that is not to be trusted is made anew",
        set: |pool| {
            pool.work(1);
            pool.ask(&["slot", "isolate", "1", "--reason", "odd"]);
            words(&["slot", "repair", "1"])
        },
        removes: false,
        sites: &["ref.rescue.before", "slot.sweep.before", "slot.tool-repository.before", "file.rename.before"],
    },
    Scene {
        name: "what is idle is cleared away beside a slot with work in it",
        set: |pool| {
            pool.work(1);
            words(&["gc", "--keep-size", "0B"])
        },
        removes: false,
        sites: &["slot.remove.before"],
    },
];

fn words(of: &[&str]) -> Vec<String> {
    of.iter().map(|word| (*word).to_owned()).collect()
}

/// A repository with two slots that are ready.
struct Pool {
    world: World,
}

impl Pool {
    fn new() -> Self {
        let pool = Self { world: World::new(&[("README.md", "hello\n"), (".gitignore", "*.log\n")]) };
        pool.ask(&["slot", "warm", "2"]);
        pool
    }

    fn command(&self, words: &[&str]) -> std::process::Command {
        let mut command = self.world.binary();
        command.args(words).arg("--json").arg("--repo").arg(self.world.repository());
        command.arg("--state").arg(self.world.state());
        command
    }

    fn ask(&self, words: &[&str]) -> Value {
        let output = self.command(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn acquire(&self) -> String {
        let lent = self.ask(&["slot", "acquire", "--slot", "1", "--holder", "kana"]);
        lent["lease"].as_str().unwrap().to_owned()
    }

    fn room(&self) -> PathBuf {
        self.world.mirror().parent().unwrap().to_owned()
    }

    fn slot(&self, number: u32) -> PathBuf {
        self.room().join(format!("slots/{number}/work"))
    }

    /// Somebody works in a slot.
    fn work(&self, number: u32) {
        let slot = self.slot(number);
        fs::write(slot.join("precious.txt"), PRECIOUS).unwrap();
        fs::write(slot.join("README.md"), "changed\n").unwrap();
        fs::write(slot.join("some.log"), "noise\n").unwrap();
    }

    /// What is not as it should be, however far a command came.
    fn wrong(&self) -> Vec<String> {
        let mut found = Vec::new();
        if !self.is_kept() {
            found.push("what was in the slot alone is lost".to_owned());
        }
        let list = self.ask(&["slot", "ls"]);
        let slots = list["slots"].as_array().unwrap();
        for slot in slots {
            // A lease of the killed process is over; a person's goes on.
            let holder = slot["lease"]["holder"].as_str().unwrap_or("kana");
            if !["kana", "one", "two"].contains(&holder) && slot["held"] == true {
                found.push(format!("held by nobody: {slot}"));
            }
        }
        let fsck = crate::world::plain("git").arg("-C").arg(self.world.mirror()).args(["fsck", "--strict"]).output();
        let fsck = fsck.unwrap();
        if !fsck.status.success() {
            found.push(format!("the mirror is damaged: {}", said(&fsck)));
        }
        found
    }

    /// Whether the work is in a slot, in a folder that was set aside, or in a commit that a ref keeps.
    fn is_kept(&self) -> bool {
        let is_it = |path: &Path| fs::read(path).is_ok_and(|bytes| bytes == PRECIOUS.as_bytes());
        let below = |folder: &str| {
            let folder = self.room().join(folder);
            folder.exists() && files_below(&folder).iter().any(|path| is_it(&folder.join(path)))
        };
        let refs = git(&self.world.mirror(), &["for-each-ref", "--format=%(refname)", "refs/necro/rescue"]);
        let in_commit =
            |name: &str| git(&self.world.mirror(), &["ls-tree", "--name-only", name]).contains("precious.txt");
        below("slots") || below("rescued") || refs.lines().any(in_commit)
    }

    /// Everybody who asks gets a slot of their own, and finds in it what the commit has.
    fn lends_clean_slots(&self) -> Vec<String> {
        let mut found = Vec::new();
        for holder in ["one", "two"] {
            let lent = self.ask(&["slot", "acquire", "--holder", holder]);
            let path = PathBuf::from(lent["path"].as_str().unwrap());
            let mut files = files_below(&path).iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
            files.sort();
            let text = fs::read_to_string(path.join("README.md")).unwrap_or_default();
            if files != [".git", ".gitignore", "README.md"] || text != "hello\n" {
                found.push(format!("{holder} got a slot with {files:?}"));
            }
        }
        found
    }
}

fn said(output: &Output) -> String {
    format!("{:?}: {}", output.status, String::from_utf8_lossy(&output.stderr))
}

/// Plays a scene undisturbed, and gives what it passed.
fn passed(scene: &Scene) -> Census {
    let pool = Pool::new();
    let words = (scene.set)(&pool);
    let log = pool.world.path("passed");
    let mut command = pool.command(&words.iter().map(String::as_str).collect::<Vec<_>>());
    count_into(&mut command, &log);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}: {}", scene.name, said(&output));
    assert_eq!(pool.wrong(), Vec::<String>::new(), "{}", scene.name);
    let census = Census::read(&log);
    for site in scene.sites {
        let all: Vec<&str> = census.sites().map(|(site, _)| site).collect();
        assert!(all.contains(site), "{}: {site} was not passed, but {all:?}", scene.name);
    }
    census
}

/// Plays a scene with a point in it, and gives what is not as it should be.
fn play(scene: &Scene, point: &Point) -> Vec<String> {
    let pool = Pool::new();
    let words = (scene.set)(&pool);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut command = pool.command(&words);
    point.put_into(&mut command);
    let output = command.output().unwrap();
    let mut found = Vec::new();
    let is_met = match point.act {
        Act::Kill => output.status.signal() == Some(9),
        // What is made for convenience is done without.
        Act::Full => output.status.code().is_some(),
    };
    if !is_met {
        found.push(format!("it was not met: {}", said(&output)));
    }
    found.extend(pool.wrong());
    let again = pool.command(&words).output().unwrap();
    // Removed is removed.
    let is_gone = scene.removes && again.status.code() == Some(2) && !pool.slot(1).exists();
    if !again.status.success() && !is_gone {
        found.push(format!("once more: {}", said(&again)));
    }
    found.extend(pool.wrong());
    if found.is_empty() {
        found.extend(pool.lends_clean_slots());
        found.extend(pool.wrong());
    }
    found
}

#[test]
fn a_command_on_slots_that_is_killed_anywhere_loses_nothing_and_can_be_given_again() {
    let mut failed = Vec::new();
    for scene in SCENES {
        let census = passed(scene);
        let points: Vec<Point> = census.kills(false).into_iter().chain(census.writes(false)).collect();
        println!("{}: {} cases", scene.name, points.len());
        for point in &points {
            let found = play(scene, point);
            println!("{:<7} {point}", if found.is_empty() { "ok" } else { "FAILED" });
            found.iter().for_each(|what| println!("        {what}"));
            failed.extend(found.into_iter().map(|what| format!("{}, {point}: {what}", scene.name)));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}
