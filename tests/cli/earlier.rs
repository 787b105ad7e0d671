//! State directories of earlier releases, opened by this program: read as they are, upgraded when they
//! are written, and the same to those who ask.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use necro_host::clock::{Clock, ManualClock};
use necro_host::domain::task::TaskState;
use necro_host::registry::{ExecutionFilter, Reader, Registry};
use necro_host::store::BlobStore;
use serde_json::Value;

use crate::golden::{RELEASES, SPEC, unpack};
use crate::place::Place;

/// A folder with a repository `r` and, as `r/.necro`, the state directory that `release` left.
fn place(release: &str) -> Option<Place> {
    let place = Place::new();
    place.repository("r", &[]);
    let state = unpack(release, &place.path("."))?;
    fs::rename(state, place.path("r/.necro")).unwrap();
    Some(place)
}

/// Number of the schema, from the file's header: without opening it as a database.
fn schema(registry: &Path) -> u32 {
    u32::from_be_bytes(fs::read(registry).unwrap()[60..64].try_into().unwrap())
}

/// What the commands that read say.
fn answers(place: &Place) -> Vec<(String, Value)> {
    let commands =
        [&["status"][..], &["tasks"], &["show", "1"], &["logs", "backend"], &["events"], &["artifact", "ls"]];
    commands
        .into_iter()
        .map(|command| {
            let told = place.run("r", command).done();
            assert!(!told.is_empty(), "{command:?} says nothing");
            // What it takes on disk is the files' own, and an upgrade changes those.
            let told: String = told.lines().filter(|line| !line.starts_with("disk ")).collect::<Vec<_>>().join("\n");
            let json: Vec<&str> = command.iter().copied().chain(["--json"]).collect();
            let mut value = serde_json::from_str(&place.run("r", &json).done()).unwrap_or(Value::Null);
            if let Some(disk) = value.get_mut("disk") {
                disk.take();
            }
            (told, value)
        })
        .collect()
}

/// Everything in the registry that a reader can ask for.
fn assert_whole(state: &Path) {
    let blobs = BlobStore::open(state.join("blobs")).unwrap();
    let reader = Reader::open(&state.join("registry.db"), blobs.clone()).unwrap();
    let report = reader.verify().unwrap();
    assert!(report.passed() && report.events > 0, "{report:#?}");
    let run = reader.latest_run().unwrap().unwrap();
    assert_eq!((run.spec.as_ref().map(|spec| spec.as_str()), run.outcome.as_deref()), (Some(SPEC), Some("done")));
    assert!(reader.tasks(run.spec.as_ref().unwrap()).unwrap().iter().all(|task| task.state == TaskState::Done));
    let executions = reader.executions(&ExecutionFilter::default()).unwrap();
    assert!(executions.len() > 50, "{} executions", executions.len());
    for execution in &executions {
        let record = reader.record(&execution.id).unwrap().unwrap();
        assert!(record.execution.ended_at.is_some(), "{record:#?}");
        assert!(blobs.contains(&execution.component), "the component of {} is lost", execution.id);
    }
    let calls: usize = executions.iter().map(|execution| reader.calls(&execution.id).unwrap().len()).sum();
    assert!(calls > 50, "{calls} calls");
    assert!(reader.cost(&run.id).unwrap().calls > 0);
}

#[test]
fn a_state_directory_of_an_earlier_release_is_read_as_it_is() {
    for release in RELEASES {
        let Some(place) = place(release) else { return };
        let before = place.fingerprint("r/.necro");
        let found = answers(&place);
        assert!(found[0].0.contains(SPEC), "{}", found[0].0);
        assert_whole(&place.path("r/.necro"));
        let mut after = place.fingerprint("r/.necro");
        // SQLite makes these for whoever reads, and takes them away when nobody does any more.
        after.retain(|path, _| !path.to_string_lossy().ends_with("-shm") && !path.to_string_lossy().ends_with("-wal"));
        assert_eq!(before, after, "{release}: reading has changed it");
    }
}

#[test]
fn a_read_only_state_directory_of_an_earlier_release_is_read_as_well() {
    for release in RELEASES {
        let Some(place) = place(release) else { return };
        let found = answers(&place);
        let state = place.path("r/.necro");
        let mut registry = fs::metadata(state.join("registry.db")).unwrap().permissions();
        registry.set_readonly(true);
        fs::set_permissions(state.join("registry.db"), registry).unwrap();
        let mut folder = fs::metadata(&state).unwrap().permissions();
        folder.set_readonly(true);
        fs::set_permissions(&state, folder.clone()).unwrap();
        let again = answers(&place);
        assert_whole(&state);
        std::os::unix::fs::PermissionsExt::set_mode(&mut folder, 0o700);
        fs::set_permissions(&state, folder).unwrap();
        assert_eq!(found, again, "{release}");
    }
}

#[test]
fn a_state_directory_of_an_earlier_release_is_upgraded_when_it_is_written_and_says_the_same() {
    for release in RELEASES {
        let Some(place) = place(release) else { return };
        let state = place.path("r/.necro");
        let registry = state.join("registry.db");
        let old = schema(&registry);
        let found = answers(&place);
        for _ in 0..2 {
            let clock: Arc<dyn Clock> = Arc::new(ManualClock::at("2027-01-01T00:00:00Z".parse().unwrap()));
            drop(Registry::open(&registry, clock, BlobStore::open(state.join("blobs")).unwrap()).unwrap());
            assert!(schema(&registry) > old, "{release}: the schema is still {old}");
        }
        assert_whole(&state);
        assert_eq!(found, answers(&place), "{release}");
    }
}
