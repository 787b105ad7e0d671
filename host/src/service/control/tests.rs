//! The socket between two ends of one process: answers, refusals, what is left behind, what is planted.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use tokio::sync::watch;

use super::*;
use crate::clock::ManualClock;
use crate::registry::{PruneReport, Registry};
use crate::service::office::Office;
use crate::service::records::ownership;
use crate::service::state_dir::StateDir;
use crate::store::BlobStore;

const NOW: &str = "2026-11-22T10:00:00Z";

fn state(root: &Path) -> StateDir {
    StateDir::create(root, None).unwrap()
}

fn take(state: &StateDir) -> (Owned, watch::Receiver<bool>) {
    let (stop, stopping) = watch::channel(false);
    (Owned::take(state, NOW.parse().unwrap(), &stop).unwrap(), stopping)
}

fn registry(state: &StateDir) -> Registry {
    let clock = Arc::new(ManualClock::at(NOW.parse().unwrap()));
    Registry::open(&state.registry(), clock, BlobStore::open(state.blobs()).unwrap()).unwrap()
}

/// Says something to the owner and gives what it says, on a thread of its own.
async fn say(state: &StateDir, bytes: Vec<u8>) -> Value {
    let path = state.root().join(SOCKET);
    let said = tokio::task::spawn_blocking(move || {
        let mut stream = UnixStream::connect(path).unwrap();
        // The owner may have heard enough before the end.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    });
    let answer = said.await.unwrap();
    assert_eq!(answer.lines().count(), 1, "{answer}");
    serde_json::from_str(&answer).unwrap()
}

#[tokio::test]
async fn the_owner_says_who_it_is_and_what_it_works_on() {
    let dir = tempfile::tempdir().unwrap();
    let state = state(&dir.path().join("state"));
    assert!(matches!(ask(&state, &Command::Status).await, Err(ControlError::Nobody { .. })));
    assert_eq!(ownership(&state).await, None);
    let (owned, _stopping) = take(&state);
    let expected =
        OwnerStatus { pid: std::process::id(), since: NOW.parse().unwrap(), run: None, spec: None, stopping: false };
    assert_eq!(ask(&state, &Command::Status).await.unwrap(), Answer::Status(expected.clone()));
    let (run, spec) = (RunId::new("run-1").unwrap(), SpecName::new("shop").unwrap());
    owned.works_in(Office::quiet(Some((run.clone(), spec.clone())), registry(&state)));
    let Answer::Status(status) = ask(&state, &Command::Status).await.unwrap() else { panic!() };
    assert_eq!(status, OwnerStatus { run: Some(run.clone()), spec: Some(spec), ..expected });
    let seen = ownership(&state).await.unwrap();
    assert_eq!((seen.run, seen.answers), (Some(run), true));
}

#[tokio::test]
async fn a_stop_reaches_the_owner_and_is_over_when_the_lock_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let state = state(&dir.path().join("state"));
    let limit = Duration::from_secs(60);
    assert_eq!(stop(&state, limit, &|_, _| {}).await.unwrap(), Stopped::Nobody);
    let (owned, stopping) = take(&state);
    let ending = tokio::spawn(async move {
        crate::service::workshop::stopped(stopping).await;
        drop(owned);
    });
    let Stopped::Ended(status) = stop(&state, limit, &|_, _| {}).await.unwrap() else { panic!("nobody was there") };
    assert!(status.stopping);
    ending.await.unwrap();
    assert!(!state.root().join(SOCKET).exists(), "its socket is left");
    take(&state);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_does_not_end_is_waited_for_only_so_long() {
    let dir = tempfile::tempdir().unwrap();
    let state = state(&dir.path().join("state"));
    let (owned, stopping) = take(&state);
    let (told, limit) = (tokio::sync::Notify::new(), Duration::from_secs(3));
    // Time does not move by itself while a thread waits for the lock.
    let moving = async {
        told.notified().await;
        loop {
            tokio::time::advance(Duration::from_millis(100)).await;
            tokio::task::yield_now().await;
        }
    };
    let tell = |_: &OwnerStatus, _| told.notify_one();
    let error = tokio::select! {
        stopped = stop(&state, limit, &tell) => stopped.unwrap_err(),
        () = moving => unreachable!("it never ends"),
    };
    assert!(matches!(error, crate::service::ServiceError::Control(ControlError::StillThere { waited_s: 3, .. })));
    assert!(*stopping.borrow(), "it was not told");
    // The thread that still waits for the lock ends with it.
    drop(owned);
}

#[tokio::test]
async fn an_owner_that_does_not_answer_is_told_from_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let state = state(&dir.path().join("state"));
    let lock = state.lock(NOW.parse().unwrap()).unwrap();
    let error = ask(&state, &Command::Status).await.unwrap_err();
    let ControlError::NoAnswer { holder, .. } = &error else { panic!("{error}") };
    assert!(holder.starts_with(&format!("process {} since", std::process::id())), "{holder}");
    let seen = ownership(&state).await.unwrap();
    assert_eq!((seen.since, seen.answers), (Some(NOW.parse().unwrap()), false));
    let error = stop(&state, Duration::from_secs(1), &|_, _| {}).await.unwrap_err();
    assert!(matches!(error, crate::service::ServiceError::Control(ControlError::NoAnswer { .. })), "{error}");
    drop(lock);
    // Its note still names this process, which lives: only the lock says that it is over.
    assert_eq!(stop(&state, Duration::from_secs(1), &|_, _| {}).await.unwrap(), Stopped::Nobody);
}

#[tokio::test]
async fn the_socket_is_private_and_goes_with_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let state = state(&dir.path().join("state"));
    let (owned, _stopping) = take(&state);
    let found = std::fs::symlink_metadata(state.root().join(SOCKET)).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    drop(owned);
    let left: Vec<_> = std::fs::read_dir(state.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("sock")), "{left:?}");
}

#[tokio::test]
async fn what_a_crash_or_somebody_left_at_the_sockets_name_is_replaced_and_never_followed() {
    let dir = tempfile::tempdir().unwrap();
    let state = state(&dir.path().join("state"));
    let socket = state.root().join(SOCKET);
    let outside = dir.path().join("outside");
    // Another program's, which must neither be asked nor be taken away.
    let _other = UnixListener::bind(&outside).unwrap();
    let stale = || drop(UnixListener::bind(&socket).unwrap());
    let link = || symlink(&outside, &socket).unwrap();
    let file = || std::fs::write(&socket, "text").unwrap();
    let folder = || std::fs::create_dir(&socket).unwrap();
    for (name, plant) in [("stale", &stale as &dyn Fn()), ("link", &link), ("file", &file), ("folder", &folder)] {
        plant();
        let asked = ask(&state, &Command::Status).await;
        // The note of the owner before names this process.
        assert!(matches!(asked, Err(ControlError::Nobody { .. } | ControlError::NoAnswer { .. })), "{name}: {asked:?}");
        let (owned, _stopping) = take(&state);
        assert!(matches!(ask(&state, &Command::Status).await, Ok(Answer::Status(_))), "{name}");
        drop(owned);
        assert!(!socket.exists(), "{name}");
    }
    assert!(std::fs::symlink_metadata(&outside).unwrap().file_type().is_socket());
}

#[tokio::test]
async fn only_the_holder_of_the_lock_touches_the_socket() {
    let dir = tempfile::tempdir().unwrap();
    let state = state(&dir.path().join("state"));
    let (_owned, _stopping) = take(&state);
    let (stop, _) = watch::channel(false);
    let second = Owned::take(&state, NOW.parse().unwrap(), &stop);
    assert!(matches!(second, Err(crate::service::StateDirError::Held { .. })));
    assert!(matches!(ask(&state, &Command::Status).await, Ok(Answer::Status(_))));
}

#[tokio::test]
async fn a_path_longer_than_a_sockets_address_is_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("d".repeat(100)).join("e".repeat(100));
    let state = state(&root);
    let (_owned, _stopping) = take(&state);
    assert!(matches!(ask(&state, &Command::Status).await, Ok(Answer::Status(_))));
}

#[tokio::test]
async fn a_folder_with_things_in_it_at_the_sockets_name_costs_the_commands_only() {
    let dir = tempfile::tempdir().unwrap();
    let state = state(&dir.path().join("state"));
    std::fs::create_dir_all(state.root().join(SOCKET).join("mine")).unwrap();
    let (_owned, _stopping) = take(&state);
    assert!(matches!(ask(&state, &Command::Status).await, Err(ControlError::NoAnswer { .. })));
    assert!(state.root().join(SOCKET).join("mine").exists());
}

#[tokio::test]
async fn bad_requests_are_refused_by_kind_and_the_owner_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let state = state(&dir.path().join("state"));
    let (_owned, stopping) = take(&state);
    let long = [vec![b'x'; MAX_REQUEST_BYTES + 1], b"\n".to_vec()].concat();
    for (asked, kind, part) in [
        (b"".to_vec(), "invalid", "no line of JSON"),
        (b"stop\n".to_vec(), "invalid", "no line of JSON"),
        (vec![0xff, b'\n'], "invalid", "no line of JSON"),
        (b"{\"command\":\"stop\"}\n".to_vec(), "invalid", "no `version`"),
        (b"{\"version\":2,\"command\":\"stop\"}\n".to_vec(), "version", "version 2"),
        (b"{\"version\":1}\n".to_vec(), "invalid", "status, stop, prune"),
        (
            b"{\"version\":1,\"command\":\"approve\"}\n".to_vec(),
            "unknown-command",
            "`approve`; there are: status, stop, prune",
        ),
        (b"{\"version\":1,\"command\":\"prune\",\"older_than_s\":\"30d\"}\n".to_vec(), "invalid", "invalid type"),
        (b"{\"version\":1,\"command\":\"prune\",\"older_than_s\":1}\n".to_vec(), "busy", "not begun yet"),
        (long, "invalid", "longer than 65536 bytes"),
    ] {
        let shown = String::from_utf8_lossy(&asked[..asked.len().min(60)]).into_owned();
        let answer = say(&state, asked).await;
        assert_eq!((&answer["version"], &answer["answer"]), (&json!(1), &json!("refused")), "{shown}: {answer}");
        assert_eq!(answer["kind"], kind, "{shown}: {answer}");
        assert!(answer["message"].as_str().unwrap().contains(part), "{shown}: {answer}");
    }
    assert!(!*stopping.borrow());
    let answer = say(&state, b"{\"version\":1,\"command\":\"status\"}".to_vec()).await;
    assert_eq!(answer["answer"], "status");
}

#[tokio::test]
async fn an_owner_that_works_drops_journals_when_it_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let state = state(&dir.path().join("state"));
    let (owned, _stopping) = take(&state);
    owned.works_in(Office::quiet(None, registry(&state)));
    let options = |older_than_s| Command::Prune(PruneOptions { older_than_s, keep_bytes: None });
    let asked = ask(&state, &options(Some(60))).await;
    assert_eq!(asked.unwrap(), Answer::Prune(PruneReport::default()));
    let asked = ask(&state, &options(None)).await;
    assert!(matches!(asked, Err(ControlError::Refused(Refusal { kind: RefusalKind::Failed, .. }))), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn clients_that_say_nothing_are_given_up_and_do_not_keep_others_out() {
    let dir = tempfile::tempdir().unwrap();
    let state = state(&dir.path().join("state"));
    let (_owned, _stopping) = take(&state);
    let silent: Vec<_> =
        (0..MAX_CONNECTIONS + 4).map(|_| UnixStream::connect(state.root().join(SOCKET)).unwrap()).collect();
    // Time stands still but for waits: each is over after its bound.
    let mut asked = ask(&state, &Command::Status).await;
    for _ in 0..3 {
        if asked.is_err() {
            asked = ask(&state, &Command::Status).await;
        }
    }
    assert!(matches!(asked, Ok(Answer::Status(_))), "{asked:?}");
    drop(silent);
}

#[test]
fn every_command_has_its_name() {
    let wrong = serde_json::from_value::<Command>(json!({ "command": "" })).unwrap_err().to_string();
    let names: Vec<String> = Command::NAMES.iter().map(|name| format!("`{name}`")).collect();
    assert!(wrong.ends_with(&format!("expected {}", expected(&names))), "{wrong}");
}

/// As serde lists names.
fn expected(names: &[String]) -> String {
    match names {
        [one, two] => format!("{one} or {two}"),
        more => format!("one of {}", more.join(", ")),
    }
}
