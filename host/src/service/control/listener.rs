//! The owner's side: holds the lock, listens as long as it does, and answers from what it works on.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, OFlags};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::{
    Answer, Command, MAX_ANSWER_BYTES, MAX_CONNECTIONS, MAX_REQUEST_BYTES, OwnerStatus, PATIENCE, Refusal, RefusalKind,
    SOCKET, line, parse,
};
use crate::registry::{PruneReport, RegistryError};
use crate::service::error::{ServiceError, chain};
use crate::service::office::Office;
use crate::service::prune::{self, PruneOptions};
use crate::service::specsync::{self, SpecPlace, Synced};
use crate::service::state_dir::{StateDir, StateDirError, StateLock};
use crate::service::swap;

/// The socket until it is private to its user and may have its name.
const NEW_SOCKET: &str = "owner.sock.new";
/// How long nothing is accepted after that has failed, as it does without free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A state directory that this process owns, with the socket over which it is asked. Both are given back
/// when this is dropped, the socket first.
#[derive(Debug)]
pub(crate) struct Owned {
    desk: Arc<Desk>,
    /// Absent where sockets cannot be made: then nobody can ask, and all else works.
    listening: Option<(JoinHandle<()>, OwnedFd)>,
    _lock: Arc<StateLock>,
}

/// What questions are answered from.
#[derive(Debug)]
struct Desk {
    since: jiff::Timestamp,
    stop: watch::Sender<bool>,
    work: Mutex<Option<Office>>,
    pruning: Arc<tokio::sync::Mutex<()>>,
    syncing: Arc<tokio::sync::Mutex<()>>,
    /// Kept by what goes on changing the state directory when nobody waits for it.
    lock: Weak<StateLock>,
}

impl Owned {
    /// Takes the lock of `state` without waiting, and listens. A stop that somebody asks for is passed on
    /// to `stop`. Call it inside a runtime.
    pub(crate) fn take(
        state: &StateDir,
        now: jiff::Timestamp,
        stop: &watch::Sender<bool>,
    ) -> Result<Self, StateDirError> {
        Self::with(state, now, stop, true)
    }

    /// As [`Owned::take`] for an owner that is gone at once: nobody can ask it, so that nobody is asked to wait
    /// for an answer that it does not live to give. Whoever wants something meanwhile tries again.
    pub(crate) fn take_briefly(
        state: &StateDir,
        now: jiff::Timestamp,
        stop: &watch::Sender<bool>,
    ) -> Result<Self, StateDirError> {
        Self::with(state, now, stop, false)
    }

    fn with(
        state: &StateDir,
        now: jiff::Timestamp,
        stop: &watch::Sender<bool>,
        listens: bool,
    ) -> Result<Self, StateDirError> {
        let lock = Arc::new(state.lock(now)?);
        let (work, pruning, syncing) = (Mutex::default(), Arc::default(), Arc::default());
        let desk = Desk { since: now, stop: stop.clone(), work, pruning, syncing, lock: Arc::downgrade(&lock) };
        let desk = Arc::new(desk);
        if !listens {
            return Ok(Self { desk, listening: None, _lock: lock });
        }
        let listening = match bind(state) {
            Ok((listener, folder)) => Some((tokio::spawn(serve(listener, Arc::clone(&desk))), folder)),
            Err(error) => {
                tracing::warn!(
                    "commands from other terminals are not answered: no socket in the state directory: {error}"
                );
                None
            }
        };
        Ok(Self { desk, listening, _lock: lock })
    }

    /// From now on it can be asked for changes, and says what it works on.
    pub(crate) fn works_in(&self, office: Office) {
        *self.desk.work() = Some(office);
    }

    /// Whether it can be asked at all.
    pub(crate) const fn listens(&self) -> bool {
        self.listening.is_some()
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.desk.work().take();
        if let Some((task, folder)) = &self.listening {
            task.abort();
            // What is left there is taken away by the next owner.
            let _ = rustix::fs::unlinkat(folder, SOCKET, AtFlags::empty());
        }
    }
}

/// Makes the socket, for the caller, who holds the lock. Whatever stands at its name, such as the socket
/// of an owner that crashed, is replaced; nothing is followed. The folder is given as well.
fn bind(state: &StateDir) -> io::Result<(UnixListener, OwnedFd)> {
    let folder = rustix::fs::open(state.root(), OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    for name in [NEW_SOCKET, SOCKET] {
        match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
            Err(rustix::io::Errno::ISDIR) => rustix::fs::unlinkat(&folder, name, AtFlags::REMOVEDIR)?,
            Err(rustix::io::Errno::NOENT) => {}
            removed => removed?,
        }
    }
    // Through the open folder: the address of a socket has room for a hundred bytes, a path for more.
    let path = format!("/proc/self/fd/{}/{NEW_SOCKET}", folder.as_raw_fd());
    let listener = std::os::unix::net::UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    rustix::fs::renameat(&folder, NEW_SOCKET, &folder, SOCKET)?;
    listener.set_nonblocking(true)?;
    Ok((UnixListener::from_std(listener)?, folder))
}

/// Takes connections, a bounded number of them at a time. Ends with its owner, and all of them with it.
async fn serve(listener: UnixListener, desk: Arc<Desk>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut talks = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        while talks.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let desk = Arc::clone(&desk);
                talks.spawn(async move {
                    let _place = place;
                    if let Err(error) = talk(stream, &desk).await {
                        tracing::debug!("a command over the socket was not answered: {error}");
                    }
                });
            }
            Err(error) => {
                tracing::debug!("a connection to the socket could not be taken: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One question, one answer, and what follows from it.
async fn talk(mut stream: UnixStream, desk: &Desk) -> io::Result<()> {
    let other = stream.peer_cred()?.uid();
    if other != rustix::process::geteuid().as_raw() && other != 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let asked = match timeout(PATIENCE, request(&mut stream)).await {
        Ok(asked) => asked?,
        Err(_) => {
            let message = format!("no request came within {} s", PATIENCE.as_secs());
            Err(Refusal::new(RefusalKind::Invalid, message))
        }
    };
    let answer = match &asked {
        Ok(command) => desk.answer(command).await,
        Err(refusal) => Answer::Refused(refusal.clone()),
    };
    let sent = send(&mut stream, answer).await;
    // Not before it is answered: what is stopped here may be what answers.
    if asked == Ok(Command::Stop) {
        desk.stop.send_replace(true);
    }
    sent
}

/// Sends the line that answers.
async fn send(stream: &mut UnixStream, answer: Answer) -> io::Result<()> {
    let answer = line(answer).and_then(|line| {
        let size = line.len();
        let too_long =
            || Refusal::new(RefusalKind::Failed, format!("the answer has {size} bytes, more than a line may"));
        if size <= MAX_ANSWER_BYTES { Ok(line) } else { Err(too_long()) }
    });
    let answer = answer.or_else(|refusal| line(Answer::Refused(refusal))).map_err(io::Error::other)?;
    let send = async {
        stream.write_all(&answer).await?;
        stream.shutdown().await
    };
    timeout(PATIENCE, send).await.map_err(io::Error::from)?
}

/// Reads the line that asks. The inner error is the other side's.
async fn request(stream: &mut UnixStream) -> io::Result<Result<Command, Refusal>> {
    let mut line = Vec::new();
    let mut reader = BufReader::new(stream).take(MAX_REQUEST_BYTES as u64);
    reader.read_until(b'\n', &mut line).await?;
    if line.len() == MAX_REQUEST_BYTES && line.last() != Some(&b'\n') {
        let message = format!("the request is longer than {MAX_REQUEST_BYTES} bytes");
        return Ok(Err(Refusal::new(RefusalKind::Invalid, message)));
    }
    Ok(parse(&line))
}

impl Desk {
    fn work(&self) -> std::sync::MutexGuard<'_, Option<Office>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, command: &Command) -> Answer {
        match command {
            Command::Status => Answer::Status(self.status()),
            Command::Stop => Answer::Stop(OwnerStatus { stopping: true, ..self.status() }),
            Command::Prune(options) => match self.prune(options.clone()).await {
                Ok(report) => Answer::Prune(report),
                Err(refusal) => Answer::Refused(refusal),
            },
            Command::Change(change) => {
                let change = change.clone();
                match self.kept(|office| async move { office.make(change).await }).await {
                    Ok(changed) => Answer::Changed(changed),
                    Err(refusal) => Answer::Refused(refusal),
                }
            }
            Command::Seat(change) => {
                let change = change.clone();
                match self.kept(|office| async move { swap::make(&office, change).await }).await {
                    Ok(changed) => Answer::Seat(Box::new(changed)),
                    Err(refusal) => Answer::Refused(refusal),
                }
            }
            Command::SpecSync(place) => match self.spec_sync(place.clone()).await {
                Ok(synced) => Answer::SpecSync(Box::new(synced)),
                Err(refusal) => Answer::Refused(refusal),
            },
        }
    }

    /// One file at a time, and to its end also when the one who asked goes away.
    async fn spec_sync(&self, place: SpecPlace) -> Result<Synced, Refusal> {
        let one = Arc::clone(&self.syncing).lock_owned().await;
        self.kept(|office| async move {
            let _one = one;
            specsync::while_owning(office.registry(), place, true).await
        })
        .await
    }

    async fn prune(&self, options: PruneOptions) -> Result<PruneReport, Refusal> {
        let one = Arc::clone(&self.pruning).try_lock_owned();
        let one = one.map_err(|_| Refusal::new(RefusalKind::Busy, "it drops journals already"))?;
        self.kept(|office| async move {
            let _one = one;
            prune::while_working(office.registry(), &options).await
        })
        .await
    }

    /// Does something for whoever asks, in a task of its own: it is not left in the middle when the one who
    /// asked goes away, and keeps the lock as long as it takes.
    async fn kept<T, F>(&self, work: impl FnOnce(Office) -> F) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, ServiceError>> + Send + 'static,
        T: Send + 'static,
    {
        let (Some(office), Some(lock)) = (self.work().clone(), self.lock.upgrade()) else {
            let message = "its work has not begun yet, or is over; ask again later";
            return Err(Refusal::new(RefusalKind::Busy, message));
        };
        let work = work(office);
        let task = tokio::spawn(async move {
            let _kept = lock;
            work.await
        });
        match task.await {
            Ok(done) => done.map_err(|error| Refusal::new(kind(&error), chain(&error))),
            Err(error) => Err(Refusal::new(RefusalKind::Failed, error.to_string())),
        }
    }

    fn status(&self) -> OwnerStatus {
        let (run, spec) = self.work().as_ref().and_then(|office| office.run.clone()).unzip();
        OwnerStatus { pid: std::process::id(), since: self.since, run, spec, stopping: *self.stop.borrow() }
    }
}

/// What kind of refusal an error is.
const fn kind(error: &ServiceError) -> RefusalKind {
    use RegistryError as R;
    match error {
        ServiceError::Registry(error) => match error {
            R::Conflict { .. }
            | R::IllegalTransition { .. }
            | R::Container { .. }
            | R::NotTheirs { .. }
            | R::SettledIssue { .. } => RefusalKind::Conflict,
            R::UnknownTask(_) | R::UnknownIssue(_) | R::UnknownAttempt(_) => RefusalKind::Unknown,
            R::InvalidIssue(_) | R::InvalidAttributes(_) | R::InvalidWorker => RefusalKind::Invalid,
            _ => RefusalKind::Failed,
        },
        _ => RefusalKind::Failed,
    }
}
