//! What the host tells the launcher, and what the launcher answers. Both go over the launcher's
//! standard input, which is closed when it becomes the command: a command cannot answer in its place.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The first argument of a process that is a launcher.
pub const LAUNCHER: &str = "__sandbox";
/// A longer policy is refused: it has to fit into the channel before the launcher reads.
pub(crate) const MAX_POLICY_BYTES: usize = 96 * 1024;
/// Most of an answer that is read.
pub(crate) const MAX_ANSWER_BYTES: u64 = 16 * 1024;
/// The oldest version of Landlock's interface that keeps writes in: those before it lack truncation.
/// Linux has it since 6.2.
pub const NEEDED_ABI: u32 = 3;
/// The version from which on signals and abstract sockets stay inside. Linux has it since 6.12.
pub const WANTED_ABI: u32 = 6;

/// Bounds of one command; 0 in a setting means the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory that each process may have written to for itself (`RLIMIT_DATA`), in bytes. Address space that
    /// is only reserved, as runtimes do by the terabyte, does not count.
    pub memory_bytes: u64,
    /// Processor time of each process, in seconds.
    pub cpu_seconds: u64,
    /// Processes at the same time.
    pub processes: u64,
    /// The largest file that may be written, in bytes.
    pub file_bytes: u64,
}

impl Default for Limits {
    /// What builds and tests of large projects survive.
    fn default() -> Self {
        Self { memory_bytes: 4 << 30, cpu_seconds: 3600, processes: 512, file_bytes: 4 << 30 }
    }
}

impl Limits {
    /// Takes settings, where 0 stands for the default.
    #[must_use]
    pub fn or_default(memory_bytes: u64, cpu_seconds: u64, processes: u64, file_bytes: u64) -> Self {
        let all = Self::default();
        let or = |set: u64, default: u64| if set == 0 { default } else { set };
        Self {
            memory_bytes: or(memory_bytes, all.memory_bytes),
            cpu_seconds: or(cpu_seconds, all.cpu_seconds),
            processes: or(processes, all.processes),
            file_bytes: or(file_bytes, all.file_bytes),
        }
    }
}

/// What the launcher is to do with itself before it becomes the command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Policy {
    /// Read, written and executed.
    pub(crate) write: Vec<PathBuf>,
    /// Read and executed.
    pub(crate) read: Vec<PathBuf>,
    /// Whether sockets of the Internet's families may be made.
    pub(crate) network: bool,
    /// Bounds.
    pub(crate) limits: Limits,
    /// By what every process of this command is known; see `strays`.
    pub(crate) mark: u64,
    /// Only says what can be kept in, and runs nothing.
    pub(crate) probe: bool,
}

/// What the launcher says. Nothing: it became the command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// To a probe: so the kernel keeps in.
    Can(Protection),
    /// It could not confine itself, and ran nothing.
    Refused(String),
    /// The program or its interpreter is not there.
    NotFound,
    /// The system did not run the program.
    NotRun(String),
}

/// What keeps commands in on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protection {
    /// Version of Landlock's interface.
    pub landlock_abi: u32,
    /// Whether commands get a network of their own, without any connection.
    pub network_namespace: bool,
}
