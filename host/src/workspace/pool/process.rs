//! Which process this is, and whether another one still lives: by its number, its beginning and the start of the
//! machine, since a number alone is given out again.

use std::sync::Arc;

use crate::domain::pool::Process;

/// How a pool tells who is alive.
#[derive(Clone)]
pub struct Liveness {
    own: Process,
    is_alive: Arc<dyn Fn(&Process) -> bool + Send + Sync>,
}

impl std::fmt::Debug for Liveness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Liveness").field("own", &self.own).finish_non_exhaustive()
    }
}

impl Liveness {
    /// As the operating system says.
    #[must_use]
    pub fn of_system() -> Self {
        let boot = boot();
        let pid = std::process::id();
        let own = Process { pid, began: began(pid).unwrap_or_default(), boot: boot.clone() };
        Self { own, is_alive: Arc::new(move |process| process.boot == boot && lives(process)) }
    }

    /// As a test says: this process is `own`.
    #[must_use]
    pub fn told(own: Process, is_alive: impl Fn(&Process) -> bool + Send + Sync + 'static) -> Self {
        Self { own, is_alive: Arc::new(is_alive) }
    }

    pub(super) fn own(&self) -> Process {
        self.own.clone()
    }

    pub(super) fn is_alive(&self, process: &Process) -> bool {
        (self.is_alive)(process)
    }
}

#[cfg(target_os = "linux")]
fn boot() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

/// When a process that is not dead began, in ticks since the start of the machine.
#[cfg(target_os = "linux")]
fn began(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything, parentheses too.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let began = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X" | "x")).then_some(began)
}

#[cfg(target_os = "linux")]
fn lives(process: &Process) -> bool {
    began(process.pid) == Some(process.began)
}

#[cfg(not(target_os = "linux"))]
fn boot() -> String {
    String::new()
}

#[cfg(not(target_os = "linux"))]
fn began(_pid: u32) -> Option<u64> {
    None
}

/// Without the beginning, a number that was given out again counts as alive: better kept than lent twice.
#[cfg(not(target_os = "linux"))]
fn lives(process: &Process) -> bool {
    let pid = i32::try_from(process.pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_one_with_another_beginning_or_start_of_the_machine_does_not() {
        let liveness = Liveness::of_system();
        let own = liveness.own();
        assert!(liveness.is_alive(&own));
        if cfg!(target_os = "linux") {
            assert!(!liveness.is_alive(&Process { began: own.began + 1, ..own.clone() }));
            assert!(!liveness.is_alive(&Process { boot: "another".to_owned(), ..own.clone() }));
            assert!(!liveness.is_alive(&Process { pid: u32::MAX, ..own }));
        }
    }
}
