//! A run on a small list, copies of what it left, and `replay` over them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::replies::{Replies, command, finish, write};
use crate::world::{Finished, SETTINGS, SIDE_BY_SIDE, World, files_below, finish as finished, plain};

const PLAN: &str = "# Plan\n\n- [ ] 1. Add bread\n  - _Skill: backend_\n- [ ] 2. Add cheese\n  - _Skill: frontend_\n";

/// A list with two things to add, side by side.
pub(crate) fn list() -> World {
    let plan = format!("{PLAN}{SIDE_BY_SIDE}");
    World::new(&[("necro.toml", SETTINGS), ("list.txt", "to buy:\n"), (".kiro/specs/list/tasks.md", &plan)])
}

/// What the spirits of [`list`] do: files are written before and after a command.
pub(crate) fn replies() -> Replies {
    let edit = serde_json::json!({ "name": "edit",
        "arguments": { "edits": [{ "path": "list.txt", "old": "to buy:", "new": "to buy: bread" }] } });
    let remove = serde_json::json!({ "name": "remove", "arguments": { "path": "note.txt" } });
    Replies::default()
        .attempt(
            "backend",
            "1",
            None,
            &[
                &[write("bread.txt", "bread\n"), write("note.txt", "do not forget\n")],
                &[command("check"), edit],
                &[write("bread.txt", "rye bread\n"), remove],
                &[finish("add bread")],
            ],
        )
        .writes("frontend", "2", None, "cheese.txt", "cheese\n")
}

/// [`list`] after its run.
pub(crate) fn done() -> World {
    let world = list();
    world.run(&replies().text(), &["--spec", "list"]).done();
    world
}

/// Copies a state directory to `name` in the world.
pub(crate) fn copy(world: &World, state: &Path, name: &str) -> PathBuf {
    let place = world.path(name);
    let copied = finished(plain("cp").arg("-a").arg(state).arg(&place));
    assert_eq!(copied.code, Some(0), "{copied:#?}");
    place
}

/// `replay --state STATE` with further arguments, in a folder where there is no repository.
pub(crate) fn replay(world: &World, state: &Path, args: &[&str]) -> Finished {
    finished(world.binary().arg("replay").arg("--state").arg(state).args(args))
}

/// The same with `--json`, and its exit code.
pub(crate) fn replayed(world: &World, state: &Path, args: &[&str]) -> (Option<i32>, Value) {
    let finished = replay(world, state, &[args, &["--json"]].concat());
    let json = serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:#?}"));
    (finished.code, json)
}

/// Takes the right to write from a folder and all below it, and gives it back when dropped.
pub(crate) struct ReadOnly(PathBuf);

impl ReadOnly {
    /// Takes it.
    pub(crate) fn make(folder: &Path) -> Self {
        set(folder, 0o555, 0o444);
        Self(folder.to_owned())
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        set(&self.0, 0o755, 0o644);
    }
}

fn set(folder: &Path, folders: u32, files: u32) {
    let mode = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(folder, 0o755);
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() {
        } else if path.is_dir() {
            set(&path, folders, files);
        } else {
            mode(&path, files);
        }
    }
    mode(folder, folders);
}

/// Every file below a folder with its bytes, without what SQLite makes for whoever reads.
pub(crate) fn bytes_below(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = files_below(folder).into_iter();
    let kept = files.filter(|path| !["-shm", "-wal"].iter().any(|end| path.to_string_lossy().ends_with(end)));
    let read = |path: &Path| {
        let full = folder.join(path);
        if full.is_symlink() {
            fs::read_link(full).unwrap().into_os_string().into_encoded_bytes()
        } else {
            fs::read(full).unwrap()
        }
    };
    kept.map(|path| (path.clone(), read(&path))).collect()
}
