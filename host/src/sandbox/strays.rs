//! Processes that outlive their command, because they left its process group or because the host was
//! killed. They are known by the private folders that every command gets in its environment, which
//! its children inherit; a process that was started with an environment made anew is not found.

use std::path::Path;

/// Times that the processes are looked through: killing takes effect a little later, and what is
/// being killed may start another one.
#[cfg(target_os = "linux")]
const MAX_ROUNDS: usize = 200;
/// Time between two rounds.
#[cfg(target_os = "linux")]
const PAUSE: std::time::Duration = std::time::Duration::from_millis(5);
/// Most of an environment that is read, in bytes: as much as the system passes on.
#[cfg(target_os = "linux")]
const MAX_ENVIRONMENT_BYTES: u64 = 8 * 1024 * 1024;

/// Kills every process whose `HOME` or `TMPDIR` is the private one of commands with this `scratch`
/// folder, and gives how many those were. Returns when none is left, or after about a second.
/// Blocks. It must not be called while a command runs there: that would be killed too. Elsewhere
/// than on Linux it does nothing.
#[cfg(target_os = "linux")]
pub fn end_strays(scratch: &Path) -> usize {
    let markers = [marker("HOME", &scratch.join("home")), marker("TMPDIR", &scratch.join("tmp"))];
    let mut ended = std::collections::BTreeSet::new();
    for _ in 0..MAX_ROUNDS {
        let found: Vec<_> = processes().filter(|pid| is_marked(*pid, &markers)).collect();
        if found.is_empty() {
            return ended.len();
        }
        for pid in found {
            kill(pid, &markers);
            ended.insert(pid.as_raw_nonzero());
        }
        std::thread::sleep(PAUSE);
    }
    tracing::warn!(scratch = %scratch.display(), "processes of a command could not be ended");
    ended.len()
}

/// See the one for Linux.
#[cfg(not(target_os = "linux"))]
pub fn end_strays(_scratch: &Path) -> usize {
    0
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

/// Not so for a process that is dead already, or somebody else's.
#[cfg(target_os = "linux")]
fn is_marked(pid: rustix::process::Pid, markers: &[Vec<u8>]) -> bool {
    use std::io::Read;
    let mut environment = Vec::new();
    let path = format!("/proc/{}/environ", pid.as_raw_nonzero());
    let read = std::fs::File::open(path).and_then(|f| f.take(MAX_ENVIRONMENT_BYTES).read_to_end(&mut environment));
    read.is_ok() && environment.split(|b| *b == 0).any(|variable| markers.iter().any(|m| m == variable))
}

#[cfg(target_os = "linux")]
fn kill(pid: rustix::process::Pid, markers: &[Vec<u8>]) {
    use rustix::process::{PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
    // Nothing to be done about one that can't be killed: the next round finds it again.
    let _ = match pidfd_open(pid, PidfdFlags::empty()) {
        // The number may have gone to another process by now; from here on it can't.
        Ok(handle) if is_marked(pid, markers) => pidfd_send_signal(handle, Signal::KILL),
        Err(rustix::io::Errno::NOSYS) => kill_process(pid, Signal::KILL),
        _ => Ok(()),
    };
}
