//! Databases that are damaged, newer, foreign or cannot be written, as people meet them: the right words, the
//! right exit code, and not a byte changed.

use std::fs;

use rusqlite::Connection;

use crate::place::Place;
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

#[test]
fn a_state_directory_that_cannot_be_written_can_be_read_and_says_why_not_more() {
    use std::os::unix::fs::PermissionsExt as _;
    if rustix::process::geteuid().is_root() {
        eprintln!("skipped: nothing is read-only for root");
        return;
    }
    let place = Place::new();
    record(&place);
    let state = place.path("r/.necro");
    let mode = |mode| fs::set_permissions(&state, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o555);
    place.run("r", &["tasks"]).done();
    place.run("r", &["registry", "verify"]).done();
    place.run("r", &["registry", "backup", "../saved"]).done();
    let refused = place.run("r", &["registry", "rebuild"]);
    mode(0o755);
    assert_eq!(refused.code, Some(3), "{refused:?}");
}
