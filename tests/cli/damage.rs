//! Databases that are damaged, newer, foreign or cannot be written, as people meet them: the right words, the
//! right exit code, and not a byte changed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;

use rusqlite::Connection;

use crate::place::{Ended, Place};
use crate::recorded::record;

const DATABASE: &str = "r/.necro/registry.db";

/// Commands that read, and such as write.
const COMMANDS: [&[&str]; 9] = [
    &["status"],
    &["tasks"],
    &["events"],
    &["registry", "verify"],
    &["registry", "rebuild"],
    &["registry", "backup", "../saved"],
    &["registry", "export", "../out"],
    &["lock", "release", "x"],
    &["prune", "--older-than", "1d"],
];

#[test]
fn what_is_wrong_with_a_database_is_said_and_not_a_byte_is_changed() {
    let place = Place::new();
    record(&place);
    let path = place.path(DATABASE);
    let whole = fs::read(&path).unwrap();
    let changed = |sql: &str| {
        fs::write(&path, &whole).unwrap();
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        fs::read(&path).unwrap()
    };
    let newer = changed("PRAGMA user_version = 99;");
    let foreign = changed("PRAGMA application_id = 7;");
    let mut torn = whole.clone();
    torn[4096..8192].fill(0xa5);
    for (what, bytes, words) in [
        ("newer", newer, ["the database has schema 99", "use a newer necro-host"]),
        ("foreign", foreign, ["damaged", "not a registry"]),
        ("cut", whole[..whole.len() / 2].to_vec(), ["the registry is damaged", ""]),
        ("a few bytes", whole[..40].to_vec(), ["the registry is damaged", ""]),
        ("empty", Vec::new(), ["the registry is damaged", ""]),
        (
            "text",
            b"not a database, but a text of some length that says nothing".to_vec(),
            ["the registry is damaged", ""],
        ),
    ] {
        for args in COMMANDS {
            fs::write(&path, &bytes).unwrap();
            let ended = place.run("r", args);
            ended.refused(1, &words);
            assert!(fs::read(&path).unwrap() == bytes, "{what}: {args:?} has changed the database");
        }
        assert!(!place.path("saved").exists(), "{what}");
        assert!(!place.path("out/tasksets").exists(), "{what}");
    }
    // Not every query meets a torn page; a proof and a backup do.
    for args in [&["registry", "verify"][..], &["registry", "backup", "../saved"]] {
        fs::write(&path, &torn).unwrap();
        let ended = place.run("r", args);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!((ended.out.clone() + &ended.err).contains("damaged") || ended.err.contains("not sound"), "{ended:?}");
        assert!(fs::read(&path).unwrap() == torn, "{args:?} has changed the database");
    }
    assert!(!place.path("saved").exists());
    fs::write(&path, &whole).unwrap();
    place.run("r", &["registry", "verify"]).done();
}

#[test]
fn a_run_on_a_damaged_registry_is_refused_and_leaves_it_to_a_person() {
    let place = Place::new();
    record(&place);
    place.write("job.md", "Add a greeting\n");
    place.write("replies.toml", "version = 1\n");
    let path = place.path(DATABASE);
    let cut = fs::read(&path).unwrap()[..6000].to_vec();
    fs::write(&path, &cut).unwrap();
    place.run("r", &["run", "../job.md", "--llm", "scripted:../replies.toml"]).refused(1, &["the registry is damaged"]);
    assert!(fs::read(&path).unwrap() == cut);
}

#[test]
fn a_full_disk_is_called_one_and_costs_nothing_that_was_there() {
    let place = Place::new();
    record(&place);
    let before = place.run("r", &["events", "--json"]).json();
    for (site, args) in [
        ("registry.commit.before", &["registry", "rebuild"][..]),
        ("registry.commit.before", &["lock", "release", "x"]),
        ("backup.database.before", &["registry", "backup", "../saved"]),
    ] {
        let full = format!("full {site} 1");
        place.run_with("r", args, &[("NECRO_FAILPOINT", &full)]).refused(3, &["the disk is full"]);
        assert_eq!(place.run("r", &["events", "--json"]).json(), before, "{site}");
        place.run("r", &["registry", "verify"]).done();
    }
}

/// Runs the binary as somebody who is not root and has no right to write into the state directory; `None` where
/// that cannot be arranged.
fn without_rights(place: &Place, args: &[&str]) -> Option<Ended> {
    const NOBODY: u32 = 65_534;
    let mut command = place.command("r", args);
    if rustix::process::geteuid().is_root() {
        for path in place.fingerprint("").into_keys().chain([place.path("")]) {
            std::os::unix::fs::lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        command.uid(NOBODY).gid(NOBODY);
    }
    for (path, _) in place.fingerprint("r/.necro").into_iter().chain([(place.path("r/.necro"), Vec::new())]) {
        let mode = if path.is_dir() { 0o555 } else { 0o444 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let output = match command.output() {
        // The folder in which the binary was built is root's own.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return None,
        output => output.unwrap(),
    };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Some(Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) })
}

#[test]
fn a_state_directory_that_cannot_be_written_can_be_read_and_says_why_not_more() {
    for with_log in [false, true] {
        let place = Place::new();
        record(&place);
        if with_log {
            // As a killed process leaves it, without the file that SQLite makes beside the two.
            let copy = place.path("copy");
            fs::create_dir(&copy).unwrap();
            let conn = Connection::open(place.path(DATABASE)).unwrap();
            conn.execute_batch("PRAGMA wal_autocheckpoint = 0; UPDATE leases SET holder = holder; VACUUM;").unwrap();
            for name in ["registry.db", "registry.db-wal"] {
                fs::copy(place.path(&format!("r/.necro/{name}")), copy.join(name)).unwrap();
            }
            drop(conn);
            for name in ["registry.db", "registry.db-wal"] {
                fs::rename(copy.join(name), place.path(&format!("r/.necro/{name}"))).unwrap();
            }
            let _ = fs::remove_file(place.path("r/.necro/registry.db-shm"));
            assert!(fs::metadata(place.path("r/.necro/registry.db-wal")).unwrap().len() > 0);
        }
        let Some(tasks) = without_rights(&place, &["tasks"]) else {
            eprintln!("skipped: the binary is where only root may start it");
            return;
        };
        let before = place.fingerprint("r/.necro");
        assert!(tasks.done().contains("Release"));
        for args in
            [&["registry", "verify"][..], &["registry", "backup", "../saved"], &["registry", "export", "../out"]]
        {
            without_rights(&place, args).unwrap().done();
        }
        for args in [&["registry", "rebuild"][..], &["registry", "backup"], &["lock", "release", "x"]] {
            without_rights(&place, args).unwrap().refused(3, &[".necro", "ermission denied"]);
        }
        assert!(place.fingerprint("r/.necro") == before, "something was written");
    }
}
