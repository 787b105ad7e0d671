//! Runs one command.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{ChildStderr, ChildStdout};
use tokio::task::JoinSet;

use super::confine::{Confinement, answer};
use super::env::HostEnv;
use super::output::{Recorder, Stream};
use super::policy::{Answer, Limits};
use super::strays::end_strays;
use super::watch::{Exceeded, watch};
use crate::clock::Clock;
use crate::domain::mask::Mask;
use crate::domain::work::CommandOutcome;
use crate::failpoint::{self, Side};

/// Most of an output that is kept: half of it from the beginning, half from the end.
pub const MAX_LOG_BYTES: usize = 32 * 1024 * 1024;
/// Time between asking a group to end and ending it.
const GRACE: Duration = Duration::from_secs(2);
/// How long output may still come after everything was killed. Only a process that left the group
/// can hold a pipe open then.
const DRAIN: Duration = Duration::from_secs(1);
/// Longest argument list, in bytes.
const MAX_ARGS_BYTES: usize = 128 * 1024;

/// Why a command could not be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// There is nothing to run.
    #[error("the command is empty")]
    Empty,
    /// The arguments are too long, or have NUL characters.
    #[error("the command's arguments cannot be passed on: {reason}")]
    BadArguments {
        /// Why.
        reason: &'static str,
    },
    /// The program is not installed.
    #[error("the program `{program}` was not found; install it, or change the command")]
    MissingProgram {
        /// As the command names it.
        program: String,
    },
    /// It is there, but is no program.
    #[error("`{}` is not executable", path.display())]
    NotExecutable {
        /// Where.
        path: PathBuf,
    },
    /// The folder to run in is not there.
    #[error("the folder {} does not exist", path.display())]
    BadFolder {
        /// Which.
        path: PathBuf,
    },
    /// A folder could not be made, or the process could not be started.
    #[error("`{what}` could not be run")]
    Io {
        /// Program or folder.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It could not be kept in, so it was not run.
    #[error("`{what}` was not run, because it could not be kept in: {reason}")]
    Unconfined {
        /// Program.
        what: String,
        /// Why.
        reason: String,
    },
    /// The host is shutting down.
    #[error("the command was cut off because the host stops")]
    Stopped,
}

/// One command to run.
#[derive(Debug, Clone)]
pub struct CommandSpec {
    /// Program and arguments; no shell is involved. A program with a `/` is looked for below `dir`,
    /// others in `PATH`.
    pub argv: Vec<String>,
    /// The folder to run in.
    pub dir: PathBuf,
    /// A private folder for home and temporary files.
    pub scratch: PathBuf,
    /// Folders that it may read besides; see `git/` of a slot.
    pub readable: Vec<PathBuf>,
    /// Whether it may use networks.
    pub network: bool,
    /// What it may use, when it is confined.
    pub limits: Limits,
    /// Variables of the command's own.
    pub env: BTreeMap<String, String>,
    /// Wall-clock limit.
    pub timeout: Duration,
    /// Most of each stream that the outcome shows: beginning and end.
    pub output_limit_bytes: usize,
    /// Hides secrets in everything that was printed.
    pub mask: Mask,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// For the guest and the record.
    pub outcome: CommandOutcome,
    /// Both streams in order of arrival, at most [`MAX_LOG_BYTES`] and a line; for the artifact.
    pub log: Vec<u8>,
    /// It was stopped because the attempt was.
    pub cancelled: bool,
}

/// Runs commands.
#[derive(Debug, Clone)]
pub struct Sandbox {
    host: HostEnv,
    clock: Arc<dyn Clock>,
    confinement: Confinement,
    lanes: Arc<Mutex<BTreeMap<PathBuf, Lane>>>,
}

/// Held for reading by each command of one scratch folder, and for writing while what they left
/// behind is killed: that can't be told from a command that runs.
type Lane = Arc<tokio::sync::RwLock<()>>;

/// Why waiting ended.
enum End {
    Exited,
    TimedOut,
    Cancelled,
    Exceeded(Exceeded),
}

impl Sandbox {
    /// A sandbox with the operator's environment to draw from.
    #[must_use]
    pub fn new(host: HostEnv, clock: Arc<dyn Clock>, confinement: Confinement) -> Self {
        Self { host, clock, confinement, lanes: Arc::default() }
    }

    /// How commands are kept in.
    #[must_use]
    pub fn confinement(&self) -> &Confinement {
        &self.confinement
    }

    /// Kills what earlier commands with this scratch folder left behind, and gives how many
    /// processes those were; see [`end_strays`]. Does nothing while one of them runs: its end does
    /// the same.
    pub async fn end_strays(&self, scratch: &Path) -> usize {
        let Ok(alone) = self.lane(scratch).try_write_owned() else { return 0 };
        let scratch = scratch.to_owned();
        let ending = tokio::task::spawn_blocking(move || {
            let ended = end_strays(&scratch);
            drop(alone);
            ended
        });
        ending.await.unwrap_or(0)
    }

    /// One for each slot: as many as there are slots.
    fn lane(&self, scratch: &Path) -> Lane {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(lanes.entry(scratch.to_owned()).or_default())
    }

    /// Where a program is.
    ///
    /// # Errors
    /// [`SandboxError::MissingProgram`], [`SandboxError::NotExecutable`].
    pub fn find(&self, program: &str, dir: &Path) -> Result<PathBuf, SandboxError> {
        let missing = || SandboxError::MissingProgram { program: program.to_owned() };
        if program.is_empty() {
            return Err(SandboxError::Empty);
        }
        if program.contains('/') {
            let path = dir.join(program);
            return match path.metadata() {
                Ok(found) if found.is_file() && found.permissions().mode() & 0o111 != 0 => Ok(path),
                Ok(_) => Err(SandboxError::NotExecutable { path }),
                Err(_) => Err(missing()),
            };
        }
        std::env::split_paths(&self.host.path)
            .map(|dir| dir.join(program))
            .find(|path| path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0))
            .ok_or_else(missing)
    }

    /// Runs a command to its end, to its time limit, or until `cancelled` resolves. Whatever ends it
    /// ends its whole process group, as does dropping the future, and what left the group too.
    ///
    /// # Errors
    /// [`SandboxError`]: it could not be started. A command that fails is an outcome, no error.
    pub async fn run(
        &self,
        spec: CommandSpec,
        cancelled: impl Future<Output = ()> + Send,
    ) -> Result<Finished, SandboxError> {
        let started = self.clock.elapsed();
        let lane = self.lane(&spec.scratch);
        let running = Arc::clone(&lane).read_owned().await;
        failpoint::reach("command", "run", Side::Before);
        let (mut child, pid, channel) = self.spawn(&spec)?;
        failpoint::reach("command", "start", Side::After);
        let group = Group(Arc::new(Mutex::new(Some(pid))));
        let _guard = KillOnDrop(group.clone());
        let pipes = (child.stdout.take(), child.stderr.take());
        let (swept, scratch) = (group.clone(), spec.scratch.clone());
        // Goes on when this future is dropped.
        let waiter = tokio::task::spawn_blocking(move || {
            let status = wait_and_sweep(child, pid, &swept);
            drop(running);
            if let Ok(_alone) = lane.try_write() {
                end_strays(&scratch);
            }
            status
        });
        let printed = Arc::new(tokio::sync::Mutex::new(Recorder::new(MAX_LOG_BYTES)));
        let (out, err) = adopt(pipes).map_err(|source| SandboxError::Io { what: spec.argv[0].clone(), source })?;
        // They read on while this waits, and end with this future.
        let mut readers = JoinSet::new();
        readers.spawn(drain(out, Stream::Out, Arc::clone(&printed)));
        readers.spawn(drain(err, Stream::Err, Arc::clone(&printed)));
        tokio::pin!(waiter);
        let exceeded = watch(spec.scratch.clone(), spec.limits);
        let mut status = None;
        let end = tokio::select! {
            ended = &mut waiter => { status = Some(ended); End::Exited }
            () = tokio::time::sleep(spec.timeout) => End::TimedOut,
            () = cancelled => End::Cancelled,
            what = exceeded, if channel.is_some() => End::Exceeded(what),
        };
        if status.is_none() && !matches!(end, End::Exceeded(_)) {
            group.signal(Signal::TERM);
            status = tokio::time::timeout(GRACE, &mut waiter).await.ok();
        }
        let status = match status {
            Some(ended) => ended,
            None => {
                group.signal(Signal::KILL);
                waiter.await
            }
        };
        let _ = tokio::time::timeout(DRAIN, async { while readers.join_next().await.is_some() {} }).await;
        let status = status
            .map_err(|_| SandboxError::Stopped)?
            .map_err(|source| SandboxError::Io { what: spec.argv[0].clone(), source })?;
        // A launcher that was killed at its work has said nothing, as one that became the command.
        if let Some(said) = channel.and_then(answer) {
            return Err(not_run(&spec, said));
        }
        let recorder = std::mem::replace(&mut *printed.lock().await, Recorder::new(0));
        failpoint::reach("command", "run", Side::After);
        let took = self.clock.elapsed().saturating_sub(started);
        Ok(finished(&spec, status, &end, recorder, took))
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that starts commands")]
    fn spawn(&self, spec: &CommandSpec) -> Result<(Child, Pid, Option<UnixStream>), SandboxError> {
        let program = spec.argv.first().ok_or(SandboxError::Empty)?;
        if spec.argv.iter().any(|a| a.contains('\0')) {
            return Err(SandboxError::BadArguments { reason: "a NUL character stands in them" });
        }
        if spec.argv.iter().map(|a| a.len() + 1).sum::<usize>() > MAX_ARGS_BYTES {
            return Err(SandboxError::BadArguments { reason: "they are longer than 128 KiB" });
        }
        if !spec.dir.is_dir() {
            return Err(SandboxError::BadFolder { path: spec.dir.clone() });
        }
        let found = self.find(program, &spec.dir)?;
        let (home, temporary) = (spec.scratch.join("home"), spec.scratch.join("tmp"));
        for dir in [&spec.scratch, &home, &temporary] {
            remove_link(dir)
                .and_then(|()| std::fs::create_dir_all(dir))
                .and_then(|()| std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)))
                .map_err(|source| SandboxError::Io { what: dir.display().to_string(), source })?;
        }
        let launch = self
            .confinement
            .launch(found, spec, &self.host)
            .map_err(|source| SandboxError::Io { what: program.clone(), source })?;
        let mut command = std::process::Command::new(launch.program);
        command.args(launch.args).current_dir(&spec.dir).process_group(0);
        command.env_clear().envs(self.host.of_command(&home, &temporary, &spec.env));
        command.env("PWD", &spec.dir);
        command.stdin(launch.input.map_or_else(Stdio::null, Stdio::from));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => missing_interpreter(program),
            _ => SandboxError::Io { what: program.clone(), source },
        })?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(SandboxError::Stopped)?;
        Ok((child, pid, launch.channel))
    }
}

/// Why a launcher became no command.
fn not_run(spec: &CommandSpec, said: Answer) -> SandboxError {
    let what = spec.argv[0].clone();
    match said {
        Answer::NotFound => missing_interpreter(&what),
        Answer::NotRun(reason) => SandboxError::Io { what, source: io::Error::other(reason) },
        Answer::Refused(reason) => SandboxError::Unconfined { what, reason },
        Answer::Can(_) => SandboxError::Unconfined { what, reason: "the launcher only tried".to_owned() },
    }
}

/// The file is there, so it is the interpreter in its first line that is not.
fn missing_interpreter(program: &str) -> SandboxError {
    SandboxError::MissingProgram { program: format!("{program} (its interpreter)") }
}

/// Removes what an earlier command put in the place of a folder of ours: a link would lead the host
/// elsewhere.
fn remove_link(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.is_dir() => std::fs::remove_file(path),
        _ => Ok(()),
    }
}

fn finished(spec: &CommandSpec, status: ExitStatus, end: &End, recorder: Recorder, took: Duration) -> Finished {
    let mut printed = recorder.finish(&spec.mask, spec.output_limit_bytes);
    let exit_code = match end {
        End::Exited => status.code(),
        End::TimedOut | End::Cancelled | End::Exceeded(_) => None,
    };
    if let Some(note) = note(spec, status, end) {
        printed.stderr.push_str(&note);
        printed.log.extend_from_slice(note.as_bytes());
    }
    Finished {
        outcome: CommandOutcome {
            exit_code,
            stdout: printed.stdout,
            stderr: printed.stderr,
            elided_bytes: printed.elided_bytes,
            timed_out: matches!(end, End::TimedOut),
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        },
        log: printed.log,
        cancelled: matches!(end, End::Cancelled),
    }
}

/// A line about a limit that ended a command.
fn note(spec: &CommandSpec, status: ExitStatus, end: &End) -> Option<String> {
    let signal = status.signal().and_then(Signal::from_named_raw);
    let why = match (end, signal) {
        (End::Exceeded(what), _) => what.to_string(),
        (End::Exited, Some(Signal::XCPU)) => format!("{} s of processor time are used up", spec.limits.cpu_seconds),
        (End::Exited, Some(Signal::XFSZ)) => format!("a file is longer than {} bytes", spec.limits.file_bytes),
        _ => return None,
    };
    Some(format!("\n[stopped: {why}]\n"))
}

/// A process group, as long as its number is ours: until its leader is reaped. It is killed when
/// this goes out of scope.
#[derive(Debug, Clone)]
struct Group(Arc<Mutex<Option<Pid>>>);

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(leader) = *self.lock() {
            // Everybody in it may have ended by now.
            let _ = kill_process_group(leader, signal);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Pid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Kills the group when the future that runs the command is dropped.
struct KillOnDrop(Group);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.0.signal(Signal::KILL);
    }
}

/// Waits for the leader, kills what it left behind in its group, and only then reaps it: until then
/// the group's number can't belong to anybody else.
fn wait_and_sweep(mut child: Child, pid: Pid, group: &Group) -> io::Result<ExitStatus> {
    loop {
        match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Err(e) if e == rustix::io::Errno::INTR => {}
            Err(e) => return Err(e.into()),
            Ok(_) => break,
        }
    }
    let mut leader = group.lock();
    let _ = kill_process_group(pid, Signal::KILL);
    *leader = None;
    child.wait()
}

type Pipes = (Option<std::process::ChildStdout>, Option<std::process::ChildStderr>);

fn adopt(pipes: Pipes) -> io::Result<(Option<ChildStdout>, Option<ChildStderr>)> {
    Ok((pipes.0.map(ChildStdout::from_std).transpose()?, pipes.1.map(ChildStderr::from_std).transpose()?))
}

/// Reads to the end, so that the command never waits for us; keeps what the recorder keeps.
async fn drain(pipe: Option<impl AsyncRead + Unpin>, stream: Stream, printed: Arc<tokio::sync::Mutex<Recorder>>) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read) = pipe.read(&mut buffer).await {
        if read == 0 {
            return;
        }
        printed.lock().await.push(stream, &buffer[..read]);
    }
}
