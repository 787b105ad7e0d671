//! `registry` and `lock`: proofs, rebuilds, backups and restores over recorded runs, in words and as JSON, with
//! an owner at work, with damage, and with a process that is killed in the middle.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;

use rusqlite::Connection;
use serde_json::Value;

use crate::place::Place;
use crate::recorded::record;

fn recorded() -> Place {
    let place = Place::new();
    record(&place);
    place
}

fn json(place: &Place, args: &[&str]) -> Value {
    let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
    place.run("r", &args).json()
}

/// What a registry says, whatever its place.
fn said(place: &Place, state: &str) -> [Value; 5] {
    let mut status = json(place, &["status", "--state", state]);
    for of_the_place in ["owner", "state_dir", "disk"] {
        status[of_the_place].take();
    }
    let rest = [&["events"][..], &["artifact", "ls"], &["tasks"], &["logs"]];
    let [events, artifacts, tasks, logs] =
        rest.map(|args| json(place, &args.iter().copied().chain(["--state", state]).collect::<Vec<_>>()));
    [status, events, artifacts, tasks, logs]
}

fn tamper(place: &Place, sql: &str) {
    Connection::open(place.path("r/.necro/registry.db")).unwrap().execute_batch(sql).unwrap();
}

/// Every file of the state directory but what SQLite makes for readers.
fn files(place: &Place) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = place.fingerprint("r/.necro");
    files.retain(|path, _| !path.to_string_lossy().ends_with("-shm") && !path.to_string_lossy().ends_with("-wal"));
    files
}

/// Somebody holds the state directory and has no socket.
fn owned(place: &Place) -> File {
    let path = place.path("r/.necro/owner.lock");
    fs::write(&path, "process 1 since 2026-11-22T10:00:00Z").unwrap();
    let lock = File::options().write(true).open(path).unwrap();
    lock.lock().unwrap();
    lock
}

/// The only backup in the state directory.
fn backup(place: &Place) -> PathBuf {
    let made = json(place, &["registry", "backup"]);
    let path = PathBuf::from(made["path"].as_str().unwrap());
    assert!(path.starts_with(place.path("r/.necro/backups").canonicalize().unwrap()), "{made}");
    path
}

#[test]
fn a_proof_names_what_differs_and_a_rebuild_mends_it() {
    let place = recorded();
    let text = place.run("r", &["registry", "verify"]).done();
    assert!(text.starts_with("verified: ") && text.contains(" events say"), "{text}");
    let passed = json(&place, &["registry", "verify"]);
    assert_eq!((&passed["passed"], &passed["differences"]), (&true.into(), &Value::Array(Vec::new())));
    assert!(passed["events"].as_u64() > Some(10) && passed["rows"].as_u64() > Some(5), "{passed}");

    tamper(&place, "UPDATE tasks SET state = 'done' WHERE task IN ('1', '2'); DELETE FROM findings;");
    let before = files(&place);
    let differs = place.run("r", &["registry", "verify"]);
    assert_eq!(differs.code, Some(1), "{differs:?}");
    for part in [
        "tasks (spec `shop`, task `1`): state is `done`, and `running` by the log",
        "tasks (spec `shop`, task `2`): state is `done`, and `blocked` by the log",
        "findings (seq ",
        "is missing, and the log has it",
        "mend:  necro-host registry rebuild\n",
    ] {
        assert!(differs.out.contains(part), "{part}: {differs:?}");
    }
    let machine = place.run("r", &["registry", "verify", "--json"]);
    assert_eq!(machine.code, Some(1), "{machine:?}");
    assert_eq!(serde_json::from_str::<Value>(&machine.out).unwrap()["passed"], false);
    assert!(files(&place) == before, "a proof has changed something");

    let rebuilt = place.run("r", &["registry", "rebuild"]).done();
    assert!(rebuilt.starts_with("rebuilt: ") && rebuilt.contains("what had been different:\n  tasks"), "{rebuilt}");
    place.run("r", &["registry", "verify"]).done();
    assert!(place.run("r", &["registry", "rebuild"]).done().contains("nothing had been different"));
}

#[test]
fn what_only_reads_works_beside_an_owner_and_the_rest_names_it() {
    let place = recorded();
    let saved = backup(&place);
    let lock = owned(&place);
    place.run("r", &["registry", "verify"]).done();
    place.run("r", &["registry", "backup", "../saved"]).done();
    place.run("r", &["lock", "ls"]).done();
    let before = files(&place);
    let saved = saved.to_str().unwrap();
    for args in
        [&["registry", "rebuild"][..], &["registry", "restore", saved, "--force"], &["lock", "release", "shop/x"]]
    {
        place.run("r", args).refused(2, &["in use by process 1 since 2026-11-22", "necro-host stop"]);
    }
    assert!(files(&place) == before, "something was changed");
    lock.unlock().unwrap();
}

#[test]
fn a_backup_says_the_same_wherever_it_is_restored() {
    let place = recorded();
    let before = said(&place, ".necro");
    let text = place.run("r", &["registry", "backup", "../saved"]).done();
    assert!(text.starts_with("saved: ") && text.contains("restore: necro-host registry restore /"), "{text}");
    place.run("r", &["registry", "backup", "../saved"]).refused(2, &["saved` exists already"]);
    let checked = place.run("r", &["registry", "verify", "--backup", "../saved"]).done();
    assert!(checked.contains("verified: the backup of 20") && checked.contains(" is whole"), "{checked}");
    // A backup can be asked like a state directory.
    assert_eq!(said(&place, "../saved"), before);

    let moved = place.path("elsewhere");
    fs::rename(place.path("saved"), &moved).unwrap();
    fs::remove_dir_all(place.path("r/.necro")).unwrap();
    place.run("r", &["registry", "restore", "../elsewhere"]).done();
    assert_eq!(said(&place, ".necro"), before);
    place.run("r", &["registry", "verify"]).done();
    let prune = place.run("r", &["prune", "--older-than", "52000w"]).done();
    assert!(prune.contains("no run has journals"), "it can be written: {prune}");
}

#[test]
fn a_registry_with_something_in_it_is_replaced_when_that_is_asked_for_and_kept() {
    let place = recorded();
    let saved = backup(&place);
    let saved = saved.to_str().unwrap();
    let before = said(&place, ".necro");
    place.run("r", &["registry", "restore", saved]).refused(2, &["has a registry with something in it", "--force"]);
    crate::recorded::end(&place);
    let ended = said(&place, ".necro");
    let restored = json(&place, &["registry", "restore", saved, "--force"]);
    assert_eq!(said(&place, ".necro"), before);
    // What was there is a whole database still.
    let kept = PathBuf::from(restored["kept"].as_str().unwrap());
    fs::create_dir(place.path("kept")).unwrap();
    fs::copy(&kept, place.path("kept/registry.db")).unwrap();
    let text = fs::read_dir(place.path("r/.necro")).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>();
    assert!(text.iter().any(|name| name.to_string_lossy().starts_with("registry.db.before-restore-20")), "{text:?}");
    let events = json(&place, &["events", "--state", "../kept"]);
    assert_eq!(events, ended[1]);
}

#[test]
fn a_damaged_backup_is_refused_and_changes_nothing() {
    let place = recorded();
    let saved = backup(&place);
    let database = saved.join("registry.db");
    let whole = fs::read(&database).unwrap();
    let path = saved.to_str().unwrap();
    for (bytes, words) in [
        (whole[..whole.len() / 2].to_vec(), "registry.db: "),
        (whole.iter().map(|byte| byte ^ 0x20).collect(), "registry.db: its bytes changed"),
    ] {
        fs::write(&database, bytes).unwrap();
        let before = files(&place);
        for args in [
            &["registry", "verify", "--backup", path][..],
            &["registry", "restore", path, "--force"],
            &["registry", "restore", path, "--state", "../new"],
        ] {
            place.run("r", args).refused(1, &["is damaged", words]);
        }
        assert!(files(&place) == before, "something was changed");
        assert!(!place.path("new").exists());
    }
    place.run("r", &["registry", "restore", "."]).refused(2, &["is no backup", "manifest.json"]);
    place.run("r", &["registry", "restore", "../gone"]).refused(2, &["is no backup"]);
}

#[test]
fn a_restore_that_is_killed_leaves_the_old_registry_or_the_new_one() {
    for (site, new) in [
        ("restore.database.before", false),
        ("restore.database.after", false),
        ("restore.exchange.before", false),
        ("restore.exchange.after", true),
    ] {
        let place = recorded();
        let saved = backup(&place);
        let old = said(&place, ".necro");
        crate::recorded::end(&place);
        let ended = said(&place, ".necro");
        let order = format!("kill {site} 1");
        let args = ["registry", "restore", saved.to_str().unwrap(), "--force"];
        let killed = place.run_with("r", &args, &[("NECRO_FAILPOINT", &order)]);
        assert_eq!(killed.code, None, "{site} was not reached: {killed:?}");
        assert_eq!(&said(&place, ".necro"), if new { &old } else { &ended }, "{site}");
        place.run("r", &["registry", "verify"]).done();
        place.run("r", &args).done();
        assert_eq!(said(&place, ".necro"), old, "{site}");
    }
}

#[test]
fn a_full_disk_and_a_kill_leave_no_backup_and_a_later_one_is_whole() {
    let place = recorded();
    for (act, site) in [
        ("full", "backup.database.before"),
        ("full", "backup.manifest.before"),
        ("kill", "backup.manifest.after"),
        ("kill", "backup.rename.before"),
    ] {
        let order = format!("{act} {site} 1");
        let ended = place.run_with("r", &["registry", "backup", "../saved"], &[("NECRO_FAILPOINT", &order)]);
        match act {
            "full" => ended.refused(3, &["full"]),
            _ => assert_eq!(ended.code, None, "{site}"),
        }
        assert!(!place.path("saved").exists(), "{site}");
    }
    place.run("r", &["registry", "backup", "../saved"]).done();
    place.run("r", &["registry", "verify", "--backup", "../saved"]).done();
    let left = fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with(".necro-backup-")).collect();
    assert_eq!(left, Vec::<std::ffi::OsString>::new(), "what a killed backup left is gone");
}

#[test]
fn locks_are_listed_and_given_back_unless_somebody_can_go_on_with_them() {
    let place = recorded();
    assert!(place.run("r", &["lock", "ls"]).done().is_empty());
    let long_ago = "'2026-11-22T10:00:00.000000Z', '2026-11-22T10:01:00.000000Z'";
    tamper(
        &place,
        &format!(
            "INSERT INTO leases VALUES ('a', 'lock', 'shop/schema', 'shop/1#2', {long_ago});
             INSERT INTO leases VALUES ('b', 'lock', 'shop/api', 'shop/1#1', {long_ago});"
        ),
    );
    let table = place.run("r", &["lock", "ls"]).done();
    assert!(
        table.contains("shop/schema  shop/1#2") && table.contains("its time is over, but its holder is not"),
        "{table}"
    );
    assert!(table.contains("shop/api") && table.contains("the next who asks gets it"), "{table}");
    let list = json(&place, &["lock", "ls"]);
    let found = |name: &str| list.as_array().unwrap().iter().find(|lock| lock["name"] == name).unwrap().clone();
    assert_eq!((&found("shop/schema")["at_work"], &found("shop/schema")["expired"]), (&true.into(), &true.into()));
    assert_eq!(found("shop/api")["at_work"], false);

    place.run("r", &["lock", "release", "nothing"]).refused(2, &["nobody has a lock `nothing`", "`shop/api`"]);
    place.run("r", &["lock", "release", "shop/schema"]).refused(2, &["shop/1#2", "necro-host resume", "--force"]);
    assert_eq!(json(&place, &["lock", "release", "shop/api"])["holder"], "shop/1#1");
    let text = place.run("r", &["lock", "release", "shop/schema", "--force"]).done();
    assert_eq!(text, "released: shop/schema, which shop/1#2 had\n");
    assert!(place.run("r", &["lock", "ls"]).done().is_empty());
}
