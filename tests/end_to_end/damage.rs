//! Runs in a place that somebody or something has damaged: slots that were replaced, edited, half made, locks that
//! killed processes left, a repository of an odd shape, a remote that breaks off.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::replies::{Replies, command, finish as finishes, write};
use crate::world::{Pipe, Running, SETTINGS, World, files_below, finish, git, picture};

const TASKS: &str = "# Plan\n\n- [ ] 1. Buy bread\n  - _Skill: backend_\n";
/// What git says is in the way, where any git of the user's would leave it.
const LOCKS: &[&str] = &["index.lock", "HEAD.lock", "config.lock", "packed-refs.lock"];

/// Puts something where a directory was.
type Replace = fn(&World, &Path);

fn plan(spec: &str) -> String {
    format!(".kiro/specs/{spec}/tasks.md")
}

/// A repository with two specs of one task each.
fn world(settings: &str) -> World {
    let (one, two) = (plan("one"), plan("two"));
    World::new(&[("necro.toml", settings), (&one, TASKS), (&two, TASKS), ("a.txt", "a\n"), (".gitignore", "*.log\n")])
}

fn replies() -> Replies {
    Replies::default().writes("backend", "1", None, "bread.txt", "rye\n")
}

fn run(world: &World, spec: &str) -> crate::world::Finished {
    world.run(&replies().text(), &["--spec", spec])
}

/// The folder of the mirror and its slots.
fn room(world: &World) -> PathBuf {
    world.mirror().parent().unwrap().to_owned()
}

/// Where in the state directory a file with this text is kept beside all slots.
fn kept(world: &World, text: &str) -> Option<PathBuf> {
    let rescued = room(world).join("rescued");
    let rescued = rescued.exists().then_some(rescued)?;
    files_below(&rescued).into_iter().map(|path| rescued.join(path)).find(|path| {
        fs::symlink_metadata(path).is_ok_and(|found| found.is_file()) && fs::read(path).unwrap() == text.as_bytes()
    })
}

/// Whether the precious file was kept: beside all slots, by a ref, or, when the new directory has got the old one's
/// inode and only the slot's own folders in it are made anew, where it was.
fn is_somewhere(world: &World, place: &Path) -> bool {
    let refs = git(&world.mirror(), &["for-each-ref", "--format=%(refname)", "refs/necro/rescue"]);
    let by_ref = |name: &str| git(&world.mirror(), &["ls-tree", "--name-only", name]).contains("precious.txt");
    kept(world, "precious\n").is_some() || refs.lines().any(by_ref) || place.join("precious.txt").exists()
}

#[test]
fn a_slot_that_was_replaced_is_made_anew_and_what_stands_there_is_kept() {
    let replace: [(&str, Replace); 4] = [
        ("a file", |_, place| fs::write(place, "precious\n").unwrap()),
        ("another directory", |_, place| {
            fs::create_dir(place).unwrap();
            fs::write(place.join("precious.txt"), "precious\n").unwrap();
        }),
        ("a link out of the state directory", |world, place| symlink(world.repository(), place).unwrap()),
        ("nothing", |_, _| {}),
    ];
    for (what, replace) in replace {
        for place in ["slots/1", "slots/1/work", "slots/1/git", "slots/1/scratch"] {
            let world = world(SETTINGS);
            run(&world, "one").done();
            let place = room(&world).join(place);
            fs::remove_dir_all(&place).unwrap();
            replace(&world, &place);
            let before = picture(&world.repository());
            run(&world, "two").done();
            assert_eq!(picture(&world.repository()), before, "{what}: {}", place.display());
            assert_eq!(world.on_branch("two", "bread.txt").as_deref(), Some("rye\n"), "{what}");
            // What lies in `git/` and `scratch/` is nobody's work.
            let is_work = place.ends_with("1") || place.ends_with("work");
            if is_work && (what == "a file" || what == "another directory") {
                assert!(is_somewhere(&world, &place), "{what}: {}", place.display());
            }
        }
    }
}

#[test]
fn what_a_person_edits_while_an_attempt_is_at_work_is_part_of_its_tree() {
    let base = world("");
    let (pipe, release) = (base.path("pipe"), base.path("release"));
    let hold = format!("echo > {}; cat {}", pipe.display(), release.display());
    // A second pipe: whoever reads it waits until somebody writes.
    drop(Pipe::new(release.clone()));
    let pipe = Pipe::new(pipe);
    // The command tells the test through a pipe outside its work tree, which the sandbox does not let it reach.
    let settings = format!(
        "[run]\nsandbox = \"off\"\n\n[gate]\ncommands = []\n\n[commands.hold]\nrun = [\"sh\", \"-c\", '''{hold}''']\n\
         spirits = true\n"
    );
    fs::write(base.repository().join("necro.toml"), settings).unwrap();
    git(&base.repository(), &["-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "-qam", "Set up"]);
    let turns: &[&[serde_json::Value]] =
        &[&[write("bread.txt", "rye\n"), command("hold")], &[write("cheese.txt", "gouda\n")], &[finishes("buy")]];
    let replies = Replies::default().attempt("backend", "1", None, turns);
    let script = format!("scripted:{}", base.file("replies.toml", &replies.text()));
    let running = Running::start(&mut base.command("run", &["--spec", "one", "--llm", &script]));
    pipe.wait();
    let work = room(&base).join("slots/1/work");
    fs::write(work.join("bread.txt"), "white\n").unwrap();
    fs::write(work.join("mine.txt"), "mine\n").unwrap();
    fs::remove_file(work.join("a.txt")).unwrap();
    fs::write(&release, "go on\n").unwrap();
    let finished = running.finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    for (path, text) in
        [("bread.txt", Some("white\n")), ("mine.txt", Some("mine\n")), ("cheese.txt", Some("gouda\n")), ("a.txt", None)]
    {
        assert_eq!(base.on_branch("one", path).as_deref(), text, "{path}: {finished:#?}");
    }
}

#[test]
fn what_a_killed_start_left_half_made_is_made_whole() {
    let world = world(SETTINGS);
    run(&world, "one").done();
    let room = room(&world);
    fs::remove_dir_all(&room).unwrap();
    // A mirror whose first fetch was cut off, with its locks, and a slot whose first checkout was.
    for file in [
        "mirror.git/objects/pack/tmp_pack_half",
        "mirror.git/objects/ab/tmp_obj_half",
        "mirror.git/config.lock",
        "mirror.git/HEAD.lock",
        "mirror.git/packed-refs.lock",
        "mirror.git/shallow.lock",
        "mirror.git/refs/remotes/origin/main.lock",
        "mirror.git/refs/heads/necro/one.lock",
        "host/1/index.lock",
        "host/1/.new-half",
        "slots/1/work/a.txt",
        "slots/1/git/index.lock",
    ] {
        let path = room.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "half\n").unwrap();
    }
    run(&world, "two").done();
    assert_eq!(world.on_branch("two", "bread.txt").as_deref(), Some("rye\n"));
    assert!(kept(&world, "half\n").is_some(), "nobody knows whose it is: it is kept");
    for file in ["mirror.git/objects/pack/tmp_pack_half", "mirror.git/config.lock", "host/1/.new-half"] {
        assert!(!room.join(file).exists(), "{file}");
    }
}

#[test]
fn locks_that_killed_processes_left_stop_no_run_and_the_users_are_left_alone() {
    let world = world(&format!("{SETTINGS}\n[run]\nland = true\n"));
    run(&world, "one").done();
    let room = room(&world);
    for folder in ["mirror.git", "host/1", "slots/1/git"] {
        for lock in LOCKS {
            fs::write(room.join(folder).join(lock), "").unwrap();
        }
    }
    for lock in LOCKS {
        fs::write(world.repository().join(".git").join(lock), "").unwrap();
    }
    run(&world, "two").done();
    for lock in LOCKS {
        let path = world.repository().join(".git").join(lock);
        assert!(path.exists(), "{lock} may be somebody's");
        fs::remove_file(path).unwrap();
    }
    assert_eq!(git(&world.repository(), &["show", "necro/two:bread.txt"]), "rye");
}

#[test]
fn hooks_monitors_and_links_of_a_repository_are_data() {
    let world = world(SETTINGS);
    let (trap, spring) = (world.path("trap"), world.path("spring"));
    fs::write(&spring, format!("#!/bin/sh\ntouch {}\nexit 1\n", trap.display())).unwrap();
    fs::set_permissions(&spring, fs::Permissions::from_mode(0o755)).unwrap();
    let outside = world.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("theirs.txt"), "theirs\n").unwrap();
    symlink(&outside, world.repository().join("out")).unwrap();
    symlink("/etc/passwd", world.repository().join("passwd")).unwrap();
    git(&world.repository(), &["add", "--all"]);
    git(&world.repository(), &["-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "-qm", "Links"]);
    let hooks = world.repository().join(".git/hooks");
    fs::create_dir_all(&hooks).unwrap();
    for hook in ["pre-commit", "post-checkout", "reference-transaction", "post-index-change", "update", "pre-receive"] {
        fs::copy(&spring, hooks.join(hook)).unwrap();
    }
    let config = world.repository().join(".git/config");
    let planted = format!("[core]\n\tfsmonitor = {0}\n[uploadpack]\n\tpackObjectsHook = {0}\n", spring.display());
    fs::write(&config, fs::read_to_string(&config).unwrap() + &planted).unwrap();
    // The spirit tries to write through the link, too.
    let turns: &[&[serde_json::Value]] =
        &[&[write("out/theirs.txt", "mine\n")], &[write("bread.txt", "rye\n")], &[finishes("buy bread")]];
    let replies = Replies::default().attempt("backend", "1", None, turns);
    world.run(&replies.text(), &["--spec", "one"]).done();
    assert_eq!(world.on_branch("one", "bread.txt").as_deref(), Some("rye\n"));
    assert_eq!(fs::read_to_string(outside.join("theirs.txt")).unwrap(), "theirs\n");
    assert!(!trap.exists(), "something of the repository was started");
}

#[test]
fn a_remote_that_breaks_off_ends_the_run_before_it_began_and_says_so() {
    let world = world(SETTINGS);
    // Whoever comes in is heard to the end of the first words, and left.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/x.git", listener.local_addr().unwrap());
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let script = format!("scripted:{}", world.file("replies.toml", &replies().text()));
    let mut command = world.binary();
    command.args(["run", "--json", "--spec", "one", "--llm", &script, "--repo", &address, "--state"]);
    let finished = finish(command.arg(world.state()));
    assert_ne!(finished.code, Some(0), "{finished:#?}");
    for part in ["could not reach the other side", "then try again"] {
        assert!(finished.stderr.contains(part), "{part}: {finished:#?}");
    }
    assert!(!finished.stderr.contains("panicked"), "{finished:#?}");
}
