//! What a command may reach beyond its work tree.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::env::HostEnv;
use super::places;
use super::policy::{Answer, LAUNCHER, Limits, MAX_ANSWER_BYTES, MAX_POLICY_BYTES, Policy, Protection};
use super::run::CommandSpec;
use super::strays::mark_of;

/// A launcher that says nothing for so long is none.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// How commands are kept in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Confinement {
    /// Not at all, besides environment, time and output.
    Off,
    /// By the operating system: the work tree and private folders are written, toolchains read, and
    /// nothing else.
    On {
        /// The program that becomes the command: this host's own.
        launcher: PathBuf,
        /// What was found when it was tried.
        protection: Protection,
    },
}

/// Commands cannot be kept in on this machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "commands cannot be kept in here ({reason}): that takes Linux 6.2 or later with Landlock; to run them with your \
     own rights all the same, say `sandbox = \"off\"` below [run] in necro.toml"
)]
pub struct Unconfinable {
    /// Why.
    pub reason: String,
}

impl Confinement {
    /// Confinement by this process's own program, after it was tried.
    ///
    /// # Errors
    /// [`Unconfinable`]: the kernel lacks what is needed, or another sandbox forbids it.
    pub fn by_this_program() -> Result<Self, Unconfinable> {
        if cfg!(target_os = "linux") {
            // The program as it was when it started, wherever it may be by now.
            Self::by(PathBuf::from("/proc/self/exe"))
        } else {
            Err(Unconfinable { reason: "this is not Linux".to_owned() })
        }
    }

    /// The same by another copy of it.
    ///
    /// # Errors
    /// As [`Confinement::by_this_program`].
    pub fn by(launcher: PathBuf) -> Result<Self, Unconfinable> {
        match probe(&launcher) {
            Ok(protection) => Ok(Self::On { launcher, protection }),
            Err(reason) => Err(Unconfinable { reason }),
        }
    }

    /// For reports: in which sandbox a command ran.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On { .. } => "on",
        }
    }

    /// The program and arguments that are really started, and how the launcher is spoken to.
    pub(crate) fn launch(&self, program: PathBuf, spec: &CommandSpec, host: &HostEnv) -> io::Result<Launch> {
        let args = spec.argv[1..].iter().map(OsString::from);
        let Self::On { launcher, .. } = self else {
            return Ok(Launch { program, args: args.collect(), channel: None, input: None });
        };
        let (write, read) = (places::written(spec), places::read(spec, host, &program));
        let mark = mark_of(&spec.scratch);
        let policy = Policy { write, read, network: spec.network, limits: spec.limits, mark, probe: false };
        let (channel, input) = channel(&policy)?;
        let args = [OsString::from(LAUNCHER), program.into_os_string()].into_iter().chain(args).collect();
        Ok(Launch { program: launcher.clone(), args, channel: Some(channel), input: Some(input) })
    }
}

/// How a command is started.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    /// Where a launcher answers.
    pub(crate) channel: Option<UnixStream>,
    /// Its other end, the launcher's standard input.
    pub(crate) input: Option<OwnedFd>,
}

/// A channel with the policy in it.
fn channel(policy: &Policy) -> io::Result<(UnixStream, OwnedFd)> {
    let text = serde_json::to_vec(policy)?;
    if text.len() > MAX_POLICY_BYTES {
        return Err(io::Error::other("PATH has too many folders"));
    }
    let (mut ours, theirs) = UnixStream::pair()?;
    ours.write_all(&text)?;
    ours.shutdown(Shutdown::Write)?;
    Ok((ours, theirs.into()))
}

/// What a launcher said, after it has ended or become the command; nothing in the latter case.
pub(crate) fn answer(channel: UnixStream) -> Option<Answer> {
    let mut text = Vec::new();
    // Whoever held the other end is gone, or has closed it.
    channel.set_read_timeout(Some(PROBE_TIMEOUT)).ok()?;
    channel.take(MAX_ANSWER_BYTES).read_to_end(&mut text).ok()?;
    if text.is_empty() {
        return None;
    }
    Some(serde_json::from_slice(&text).unwrap_or_else(|_| Answer::Refused("the launcher's answer is garbled".into())))
}

/// Has a launcher try what it can do.
#[expect(clippy::disallowed_methods, reason = "it confines itself and runs nothing")]
fn probe(launcher: &Path) -> Result<Protection, String> {
    let fail = |error: io::Error| format!("{} cannot be started: {error}", launcher.display());
    let policy =
        Policy { write: Vec::new(), read: Vec::new(), network: false, limits: Limits::default(), mark: 0, probe: true };
    let (channel, input) = channel(&Policy { mark: mark_of(Path::new("/")), ..policy }).map_err(fail)?;
    let mut command = Command::new(launcher);
    command.arg(LAUNCHER).env_clear().stdin(input).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(fail)?;
    // Holds the launcher's end otherwise.
    drop(command);
    let said = answer(channel);
    // A program that is no launcher may go on for ever.
    let _ = child.kill();
    child.wait().map_err(fail)?;
    match said {
        Some(Answer::Can(protection)) => Ok(protection),
        Some(Answer::Refused(reason)) => Err(reason),
        _ => Err(format!("{} is no launcher", launcher.display())),
    }
}
