//! Commands that want more than they may have, or do not end.

use std::path::Path;
use std::time::Duration;

use necro_host::sandbox::{Confinement, Limits, MAX_LOG_BYTES};

use crate::place::{Place, confinement};

/// Name, what it tries, what stopped it: each is a test below.
pub(crate) const BOUNDS: &[(&str, &str, &str)] = &[
    ("fork flood", "starts processes without end, each in a session of its own", "the host's watch, then marks"),
    ("detach", "leaves its group with an environment made anew, and outlives the command", "marks"),
    ("deaf", "ignores every request to end", "the wall-clock limit, then SIGKILL"),
    ("one huge file", "fills the disk by one file", "limit of file size"),
    ("memory", "takes memory and writes to it", "limit of memory"),
    ("processor", "computes for ever", "limit of processor time"),
    ("flood", "prints 1 GB", "bounded output, with the count of what was left out"),
    ("core", "leaves its memory on the disk when it crashes", "limit of core files"),
    (
        "rewritten .git",
        "makes `.git` a repository whose configuration runs programs",
        "the host's own git directory; cleaning",
    ),
];

/// Whether a process runs.
pub(crate) fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

#[tokio::test]
async fn a_flood_of_processes_is_stopped_and_nothing_of_it_is_left() {
    let Some(on) = confinement() else { return };
    let place = Place::new();
    let mut spec = place.spec(&["sh", "-c", "while :; do setsid sleep 1000 & done"]);
    spec.limits = Limits { processes: 30, ..Limits::default() };
    let sandbox = place.sandbox(on);
    let finished = place.run(&sandbox, spec).await;
    let log = String::from_utf8_lossy(&finished.log).into_owned();
    assert!(log.contains("more than 30 processes"), "{log}");
    assert_eq!(finished.outcome.exit_code, None);
    // Numbers of processes are used again, marks are not.
    assert_eq!(sandbox.end_strays(&place.path("slot/scratch")).await, 0);
}

/// Waits for a killed process, which the kernel does not take away at once.
async fn gone(pid: &str) {
    for _ in 0..200_000 {
        if !runs(pid) {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{pid} still runs");
}

#[tokio::test]
async fn what_detaches_with_an_environment_made_anew_is_ended_with_its_command() {
    let Some(on) = confinement() else { return };
    let script = "env -i setsid sh -c 'echo $$ > pid; exec sleep 1000' > /dev/null 2>&1 & \
                  while ! [ -s pid ]; do :; done";
    let place = Place::new();
    place.run(&place.sandbox(on), place.spec(&["sh", "-c", script])).await;
    gone(&std::fs::read_to_string(place.path("slot/work/pid")).unwrap()).await;
    let place = Place::new();
    place.run(&place.sandbox(Confinement::Off), place.spec(&["sh", "-c", script])).await;
    let pid = std::fs::read_to_string(place.path("slot/work/pid")).unwrap();
    assert!(runs(&pid), "without the sandbox it is not found");
    let pid = rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn who_ignores_requests_to_end_is_ended() {
    let Some(on) = confinement() else { return };
    let place = Place::new();
    let mut spec = place.spec(&["sh", "-c", "trap '' TERM HUP INT; while :; do :; done"]);
    spec.timeout = Duration::from_millis(300);
    let finished = place.run(&place.sandbox(on), spec).await;
    assert!(finished.outcome.timed_out && finished.outcome.exit_code.is_none());
}

#[tokio::test]
async fn a_file_grows_to_its_limit() {
    let Some(on) = confinement() else { return };
    for (confinement, whole) in [(on, false), (Confinement::Off, true)] {
        let place = Place::new();
        let mut spec = place.spec(&["sh", "-c", "head -c 3000000 /dev/zero > big; exit 0"]);
        spec.limits = Limits { file_bytes: 1_000_000, ..Limits::default() };
        place.run(&place.sandbox(confinement), spec).await;
        let length = std::fs::metadata(place.path("slot/work/big")).unwrap().len();
        assert_eq!(length == 3_000_000, whole, "{length}");
        assert!(whole || length <= 1_000_000);
    }
}

#[tokio::test]
async fn memory_is_taken_up_to_its_limit() {
    let Some(on) = confinement() else { return };
    if !Path::new("/usr/bin/python3").exists() {
        return eprintln!("skipped: memory needs /usr/bin/python3");
    }
    for (confinement, wanted) in [(on, "MemoryError"), (Confinement::Off, "taken")] {
        let place = Place::new();
        let mut spec = place.spec(&["python3", "-S", "-c", "b = bytearray(300 << 20); print('taken')"]);
        spec.limits = Limits { memory_bytes: 100 << 20, ..Limits::default() };
        let log = place.run(&place.sandbox(confinement), spec).await.log;
        assert!(String::from_utf8_lossy(&log).contains(wanted), "{}", String::from_utf8_lossy(&log));
    }
}

#[tokio::test]
async fn processor_time_ends() {
    let Some(on) = confinement() else { return };
    let place = Place::new();
    let mut spec = place.spec(&["sh", "-c", "while :; do :; done"]);
    spec.limits = Limits { cpu_seconds: 1, ..Limits::default() };
    let finished = place.run(&place.sandbox(on), spec).await;
    let log = String::from_utf8_lossy(&finished.log).into_owned();
    assert!(!finished.outcome.timed_out && log.contains("1 s of processor time are used up"), "{log}");
}

#[tokio::test]
async fn a_gigabyte_of_output_is_cut_and_counted() {
    let Some(on) = confinement() else { return };
    let place = Place::new();
    let spec = place.spec(&["sh", "-c", "echo first; head -c 1000000000 /dev/zero | tr '\\0' x; echo; echo last"]);
    let finished = place.run(&place.sandbox(on), spec).await;
    let outcome = &finished.outcome;
    assert!(outcome.stdout.starts_with("first\nxxx") && outcome.stdout.ends_with("xxx\nlast\n"));
    assert!(outcome.elided_bytes > 900_000_000 && finished.log.len() <= MAX_LOG_BYTES + 100);
}

#[tokio::test]
async fn a_crash_leaves_no_core() {
    let Some(on) = confinement() else { return };
    let place = Place::new();
    let finished = place.run(&place.sandbox(on), place.spec(&["sh", "-c", "ulimit -c; ulimit -Hc"])).await;
    assert_eq!(finished.outcome.stdout, "0\n0\n");
}
