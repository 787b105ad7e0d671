//! Commands that look after a state directory: what `prune` drops and leaves, in words and as JSON.

use serde_json::Value;

use crate::place::Place;
use crate::recorded::{self, record};

fn query(place: &Place, args: &[&str]) -> String {
    place.run("r", args).done()
}

fn json(place: &Place, args: &[&str]) -> Value {
    let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
    place.run("r", &args).json()
}

/// What has to be the same before and after.
fn lasting(place: &Place) -> [Value; 4] {
    let mut status = json(place, &["status"]);
    // The next owner has written its note.
    status["owner"].take();
    // What is dropped takes less.
    status["disk"].take();
    [status, json(place, &["events"]), json(place, &["artifact", "ls"]), json(place, &["tasks"])]
}

#[test]
fn prune_wants_to_be_told_what_may_go() {
    let place = Place::new();
    record(&place);
    place.run("r", &["prune"]).refused(2, &["--older-than 30d", "--keep-size 2GiB", "--dry-run"]);
    place.run("r", &["prune", "--older-than", "30"]).refused(2, &["such as 30d"]);
    place.run("r", &["prune", "--keep-size", "2 gigs"]).refused(2, &["such as 2GiB"]);
    place.run("r", &["prune", "--keep-size", "1B", "--state", "../none"]).refused(2, &["there is no state directory"]);
}

#[test]
fn a_run_that_can_be_gone_on_with_keeps_its_journal() {
    let place = Place::new();
    record(&place);
    let logs = query(&place, &["logs"]);
    for _ in 0..2 {
        let text = query(&place, &["prune", "--older-than", "0s", "--keep-size", "0B"]);
        assert!(text.starts_with("no run has journals that may go\n"), "{text}");
        assert_eq!(query(&place, &["logs"]), logs);
        recorded::end(&place);
    }
}

#[test]
fn prune_drops_journals_and_nothing_else_and_a_dry_run_says_the_same() {
    let place = Place::new();
    record(&place);
    recorded::end_as(&place, "done");
    let (before, logs) = (lasting(&place), query(&place, &["logs"]));
    let young = json(&place, &["prune", "--older-than", "52000w"]);
    assert_eq!(young["runs"], Value::Array(Vec::new()));

    let look = ["prune", "--older-than", "0s", "--dry-run"];
    let mut planned = json(&place, &look);
    let text = query(&place, &look);
    assert!(text.starts_with("1 run could no longer be replayed:\n  2026-11-22 10:00:00  shop  "), "{text}");
    assert!(text.contains("to free:") && text.ends_with("nothing was changed\n"), "{text}");
    assert_eq!((lasting(&place), query(&place, &["logs"])), (before.clone(), logs));

    let mut done = json(&place, &["prune", "--older-than", "0s"]);
    assert_eq!((&planned["dry_run"].take(), &done["dry_run"].take()), (&true.into(), &false.into()));
    let file = done["file"].take();
    assert!(file["before"].as_u64() >= file["after"].as_u64() && file["after"].as_u64() > Some(0), "{file}");
    planned["file"].take();
    assert_eq!(planned, done, "what was said is not what was done");
    assert_eq!(done["runs"][0]["executions"], 4);
    assert_eq!(lasting(&place), before);

    let logs = place.run("r", &["logs"]);
    assert!(logs.err.contains("3 journals pruned") && logs.code == Some(0), "{logs:?}");
    let shown = query(&place, &["show", "1", "--conversation"]);
    assert!(shown.contains("its journal was pruned on 20") && shown.contains("src/a.rs"), "{shown}");
    query(&place, &["show", "0.1"]);
    let again = query(&place, &["prune", "--older-than", "0s"]);
    assert!(again.contains("no run has journals") && again.contains("registry.db: "), "{again}");
}
