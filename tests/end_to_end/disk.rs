//! A full disk under the state directory.

use std::path::Path;

use crate::replies::{Replies, command, finish, write};
use crate::world::{Finished, World, cache, picture, plain};

/// Runs the binary with its state directory on a file system of its own; none when that cannot be made here.
fn on_small_disk(world: &World, size: &str, script: &str) -> Option<Finished> {
    let mount = "mount -t tmpfs -o size=$0 none \"$1\" || exit 99; shift; exec \"$@\"";
    let mut inner = world.command("run", &["--spec", "pages", "--json", "--llm", script]);
    inner.arg("--allow-dirty");
    let mut command = plain("unshare");
    let namespace = if rustix::process::geteuid().is_root() { "-m" } else { "-rm" };
    command.args([namespace, "sh", "-c", mount, size]).arg(world.state());
    command.arg(inner.get_program()).args(inner.get_args()).current_dir(world.path("."));
    command.env("NECRO_CACHE", cache()).env("TMPDIR", world.path("tmp"));
    let finished = command.output().ok().map(|output| Finished {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    });
    let possible = finished.filter(|finished| finished.code != Some(99) && !finished.stderr.starts_with("unshare:"));
    if possible.is_none() {
        eprintln!("skipped: a full disk needs the right to mount a tmpfs");
    }
    possible
}

#[test]
fn a_full_disk_is_a_clear_error_and_the_repository_stays_as_it_is() {
    let settings = "[gate]\ncommands = []\n\n[commands.fill]\nspirits = true\n\
                    run = [\"sh\", \"-c\", \"cat /dev/zero > filler\"]\n";
    let plan = "# Plan\n\n- [ ] 1. Write a page\n  - _Skill: backend_\n";
    let world = World::new(&[("necro.toml", settings), (".kiro/specs/pages/tasks.md", plan)]);
    let before = picture(&world.repository());
    let replies = Replies::default().attempt(
        "backend",
        "1",
        None,
        &[&[write("page.txt", "text\n")], &[command("fill")], &[finish("write a page")]],
    );
    let script = format!("scripted:{}", world.file("replies.toml", &replies.text()));
    // Too small to begin, too small to set up, and enough until a spirit fills it.
    for size in ["64k", "512k", "8m"] {
        let Some(finished) = on_small_disk(&world, size, &script) else { return };
        assert_eq!(finished.code, Some(3), "{size}: {finished:#?}");
        let said = finished.stderr.contains("No space left on device") || finished.stderr.contains("disk is full");
        assert!(said, "{size}: the error does not say that the disk is full: {finished:#?}");
        assert!(!finished.stderr.contains("panicked"), "{size}: {finished:#?}");
        assert!(picture(&world.repository()) == before, "{size}: the repository was changed");
    }
    assert!(!Path::new(&world.state()).join("registry.db").exists(), "the state was on a disk of its own");
}
