//! Processes that outlive their command, because they left its process group or because the host was
//! killed. They are known by the mark that those of a confined command cannot take off, and by the
//! private folders that every command gets in its environment, which its children inherit; of a command
//! that was not confined, a process that was started with an environment made anew is not found.

use std::path::Path;

use sha2::{Digest as _, Sha256};

/// Times that the processes are looked through: killing takes effect a little later, and what is
/// being killed may start another one.
#[cfg(target_os = "linux")]
const MAX_ROUNDS: usize = 200;
/// Time between two rounds.
#[cfg(target_os = "linux")]
const PAUSE: std::time::Duration = std::time::Duration::from_millis(5);
/// More processes than this are looked for again at once.
#[cfg(target_os = "linux")]
const FLOOD: usize = 32;
/// Times that the processes are looked through once more because one of them was just starting, and
/// the time before each. Linux shows an empty environment for some microseconds of an `execve`.
#[cfg(target_os = "linux")]
const STARTING_ROUNDS: usize = 3;
#[cfg(target_os = "linux")]
const STARTING_PAUSE: std::time::Duration = std::time::Duration::from_millis(1);
/// Most of an environment that is read, in bytes: as much as the system passes on.
#[cfg(target_os = "linux")]
const MAX_ENVIRONMENT_BYTES: u64 = 8 * 1024 * 1024;

/// The number that every process of a confined command with this `scratch` folder carries, from its
/// launcher on, as its limit for time under real-time scheduling: so large that it bounds nothing, not
/// to be raised, and not to be changed past the launcher's filter.
pub(crate) fn mark_of(scratch: &Path) -> u64 {
    let digest = Sha256::digest(scratch.as_os_str().as_encoded_bytes());
    let number = digest.iter().take(7).fold(0, |number, byte| number << 8 | u64::from(*byte));
    (1 << 60) + number
}

/// Kills every process that has the mark of commands with this `scratch` folder, or whose `HOME` or
/// `TMPDIR` is their private one, and gives how many those were. Returns when none is left, or after about a second.
/// Blocks. It must not be called while a command runs there: that would be killed too. Elsewhere
/// than on Linux it does nothing.
#[cfg(target_os = "linux")]
pub fn end_strays(scratch: &Path) -> usize {
    let markers = Markers {
        variables: [marker("HOME", &scratch.join("home")), marker("TMPDIR", &scratch.join("tmp"))],
        limit: mark_of(scratch).to_string(),
    };
    let (mut ended, mut starting) = (std::collections::BTreeSet::new(), 0);
    for _ in 0..MAX_ROUNDS {
        let looked: Vec<_> = processes().map(|pid| (pid, look(pid, &markers))).collect();
        let found = looked.iter().filter(|(_, seen)| *seen == Seen::Marked);
        let found: Vec<_> = found.map(|(pid, _)| *pid).collect();
        let pause = if !found.is_empty() {
            PAUSE
        } else if starting < STARTING_ROUNDS && looked.iter().any(|(_, seen)| *seen == Seen::Starting) {
            starting += 1;
            STARTING_PAUSE
        } else {
            return ended.len();
        };
        // Whoever starts that many would win every pause.
        let is_flood = found.len() > FLOOD;
        for pid in found {
            kill(pid, &markers);
            ended.insert(pid.as_raw_nonzero());
        }
        if !is_flood {
            std::thread::sleep(pause);
        }
    }
    tracing::warn!(scratch = %scratch.display(), "processes of a command could not be ended");
    ended.len()
}

/// See the one for Linux.
#[cfg(not(target_os = "linux"))]
pub fn end_strays(_scratch: &Path) -> usize {
    0
}

/// How many processes carry a mark.
#[cfg(target_os = "linux")]
pub(super) fn count_marked(mark: u64) -> usize {
    let mark = mark.to_string();
    processes().filter(|pid| has_limit(*pid, &mark)).count()
}

/// See the one for Linux.
#[cfg(not(target_os = "linux"))]
pub(super) fn count_marked(_mark: u64) -> usize {
    0
}

/// By what processes of one scratch folder are known.
#[cfg(target_os = "linux")]
struct Markers {
    variables: [Vec<u8>; 2],
    limit: String,
}

/// Whether a process carries a mark; dead ones do not count.
#[cfg(target_os = "linux")]
fn has_limit(pid: rustix::process::Pid, mark: &str) -> bool {
    let dir = format!("/proc/{}", pid.as_raw_nonzero());
    let limits = std::fs::read_to_string(format!("{dir}/limits")).unwrap_or_default();
    let mut lines = limits.lines().rev();
    lines.any(|line| line.starts_with("Max realtime") && line.split_whitespace().any(|word| word == mark))
        && std::fs::read_link(format!("{dir}/exe")).is_ok()
}

#[cfg(target_os = "linux")]
fn marker(key: &str, dir: &Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    [key.as_bytes(), b"=", dir.as_os_str().as_bytes()].concat()
}

#[cfg(target_os = "linux")]
fn processes() -> impl Iterator<Item = rustix::process::Pid> {
    let own = rustix::process::getpid();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|e| rustix::process::Pid::from_raw(e.file_name().to_str()?.parse().ok()?));
    pids.filter(move |pid| *pid != own)
}

/// What a process looks like from its environment.
#[cfg(target_os = "linux")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Started by a command.
    Marked,
    /// It has a program and shows no environment: it is just starting, or was given none.
    Starting,
    /// Dead, a part of the kernel, or somebody else's.
    Other,
}

#[cfg(target_os = "linux")]
fn look(pid: rustix::process::Pid, markers: &Markers) -> Seen {
    use std::io::Read;
    if has_limit(pid, &markers.limit) {
        return Seen::Marked;
    }
    let mut environment = Vec::new();
    let dir = Path::new("/proc").join(pid.as_raw_nonzero().to_string());
    let file = std::fs::File::open(dir.join("environ"));
    match file.and_then(|f| f.take(MAX_ENVIRONMENT_BYTES).read_to_end(&mut environment)) {
        Ok(0) if std::fs::read_link(dir.join("exe")).is_ok() => Seen::Starting,
        Ok(_) if environment.split(|b| *b == 0).any(|variable| markers.variables.iter().any(|m| m == variable)) => {
            Seen::Marked
        }
        _ => Seen::Other,
    }
}

#[cfg(target_os = "linux")]
fn kill(pid: rustix::process::Pid, markers: &Markers) {
    use rustix::process::{PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
    // Nothing to be done about one that can't be killed: the next round finds it again.
    let _ = match pidfd_open(pid, PidfdFlags::empty()) {
        // The number may have gone to another process by now; from here on it can't.
        Ok(handle) if look(pid, markers) == Seen::Marked => pidfd_send_signal(handle, Signal::KILL),
        Err(rustix::io::Errno::NOSYS) => kill_process(pid, Signal::KILL),
        _ => Ok(()),
    };
}
