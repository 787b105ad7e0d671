//! The other side: asks the owner of a state directory, and waits for its end.

use std::io;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{
    Answer, Command, ControlError, Line, MAX_ANSWER_BYTES, OwnerStatus, Refusal, RefusalKind, SOCKET, VERSION, line,
};
use crate::service::error::ServiceError;
use crate::service::records::{Owner, owner};
use crate::service::state_dir::StateDir;

/// How often it is looked whether an owner that is waited for has been replaced.
const TICK: Duration = Duration::from_secs(1);

/// What became of a stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// There was nobody to be stopped.
    Nobody,
    /// The owner was asked, and is gone.
    Ended(OwnerStatus),
}

/// Asks the owner of a state directory.
///
/// # Errors
/// [`ControlError::Nobody`] when there is none, [`ControlError::NoAnswer`] when there is one that does not
/// answer, [`ControlError::Refused`] when it does not do it.
pub async fn ask(state: &StateDir, command: &Command) -> Result<Answer, ControlError> {
    let patience = command.patience();
    let (reason, asked) = match connect(state).await {
        Err(error) => (error.to_string(), false),
        Ok(stream) => match timeout(patience, talk(stream, command)).await {
            Ok(Ok(Answer::Refused(refusal))) => return Err(ControlError::Refused(refusal)),
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => (error.to_string(), true),
            Err(_) => (format!("nothing came within {} s", patience.as_secs()), true),
        },
    };
    Err(match owner(state) {
        // One that is gone since may have done it.
        Owner::Nobody if !asked => ControlError::Nobody { path: state.root().to_owned() },
        Owner::Nobody | Owner::Process(_) => unanswered(state, reason, asked),
    })
}

/// Asks the owner to stop and waits until it is gone, for `limit` at most. `waiting` is told who is waited
/// for when the owner has answered, and every second after that how long it has been.
///
/// # Errors
/// Those of [`ask`] but [`ControlError::Nobody`], and [`ControlError::StillThere`].
pub async fn stop(
    state: &StateDir,
    limit: Duration,
    waiting: &(dyn Fn(&OwnerStatus, Duration) + Sync),
) -> Result<Stopped, ServiceError> {
    let note = state.owner_note();
    let asked = match ask(state, &Command::Stop).await {
        Ok(Answer::Stop(status)) => status,
        Ok(other) => return Err(ServiceError::Internal(format!("a stop was answered with {other:?}"))),
        // The lock knows better than a note: the number in it may be another process's by now.
        Err(ControlError::Nobody { .. } | ControlError::NoAnswer { .. }) if !is_held(state).await? => {
            return Ok(Stopped::Nobody);
        }
        Err(ControlError::Nobody { .. }) => {
            return Err(unanswered(state, "its socket is missing".to_owned(), false).into());
        }
        Err(error) => return Err(error.into()),
    };
    waiting(&asked, Duration::ZERO);
    let shared = state.clone();
    let mut free = tokio::task::spawn_blocking(move || shared.wait_until_free());
    let mut waited = Duration::ZERO;
    loop {
        tokio::select! {
            ended = &mut free => {
                ended.map_err(|error| ServiceError::Internal(error.to_string()))??;
                return Ok(Stopped::Ended(asked));
            }
            () = tokio::time::sleep(TICK) => {}
        }
        waited += TICK;
        if state.owner_note() != note {
            // Somebody else was faster to take the lock that it gave back.
            return Ok(Stopped::Ended(asked));
        }
        if waited >= limit {
            return Err(ControlError::StillThere { holder: note, waited_s: waited.as_secs() }.into());
        }
        waiting(&asked, waited);
    }
}

async fn is_held(state: &StateDir) -> Result<bool, ServiceError> {
    let state = state.clone();
    let looked = tokio::task::spawn_blocking(move || state.is_held()).await;
    Ok(looked.map_err(|error| ServiceError::Internal(error.to_string()))??)
}

fn unanswered(state: &StateDir, reason: String, asked: bool) -> ControlError {
    let note = state.owner_note();
    let holder = if note.is_empty() { "another process".to_owned() } else { note };
    ControlError::NoAnswer { path: state.root().to_owned(), holder, reason, asked }
}

/// Sends the command and reads the answer.
async fn talk(mut stream: UnixStream, command: &Command) -> io::Result<Answer> {
    stream.write_all(&line(command).map_err(io::Error::other)?).await?;
    let mut answer = Vec::new();
    let size = stream.take(MAX_ANSWER_BYTES as u64 + 1).read_to_end(&mut answer).await?;
    if size > MAX_ANSWER_BYTES {
        return Err(io::Error::other(format!("its answer has more than {MAX_ANSWER_BYTES} bytes")));
    }
    if answer.is_empty() {
        return Err(io::Error::other("it closed the connection"));
    }
    let Line { version, content } = serde_json::from_slice(&answer)
        .map_err(|error| io::Error::other(format!("its answer is not understood: {error}")))?;
    if version != VERSION {
        let message = format!("the owner speaks version {version}, this program version {VERSION}");
        return Ok(Answer::Refused(Refusal::new(RefusalKind::Version, message)));
    }
    Ok(content)
}

/// Connects to the socket itself: a link at its name is not followed, and its path may be of any length.
async fn connect(state: &StateDir) -> io::Result<UnixStream> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let socket = rustix::fs::open(state.root().join(SOCKET), flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&socket)?.st_mode) != FileType::Socket {
        return Err(io::Error::other(format!("`{SOCKET}` is no socket")));
    }
    UnixStream::connect(format!("/proc/self/fd/{}", socket.as_raw_fd())).await
}
