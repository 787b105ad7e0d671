//! Standard output and standard error as a command line has to treat them: a reader that goes away
//! ends the output and is no error, and JSON is one value.

use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;

use serde::Serialize;
use tokio::io::Interest;
use tokio::net::unix::pipe;

use super::neutral;
use crate::service::ServiceError;

/// Lines that are shown of something long when nobody asked for all of it.
pub(crate) const MAX_LINES: usize = 400;

/// Whether anybody still reads standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Go on.
    Yes,
    /// The other end of the pipe is closed.
    No,
}

/// Writes bytes to standard output as they are.
pub(crate) fn write(bytes: &[u8]) -> Result<Reading, ServiceError> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(Reading::Yes),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reading::No),
        Err(source) => Err(ServiceError::Io { path: "standard output".into(), source }),
    }
}

/// Writes text to standard output. A reader that went away is fine.
pub(crate) fn print(text: &str) -> Result<(), ServiceError> {
    write(text.as_bytes()).map(drop)
}

/// Writes one JSON value and a line break.
pub(crate) fn json(value: &impl Serialize) -> Result<(), ServiceError> {
    let text = serde_json::to_string_pretty(value).map_err(not_json)?;
    print(&format!("{}\n", neutral::json(&text)))
}

/// Writes one JSON value on one line.
pub(crate) fn json_line(value: &impl Serialize) -> Result<Reading, ServiceError> {
    let text = serde_json::to_string(value).map_err(not_json)?;
    write(format!("{}\n", neutral::json(&text)).as_bytes())
}

fn not_json(error: serde_json::Error) -> ServiceError {
    ServiceError::Internal(format!("the answer is no JSON: {error}"))
}

/// Waits until nobody can read standard output any more. For ever when that cannot be noticed, as with a
/// file.
pub(crate) async fn unread() {
    // Nothing is written by this, so it does not matter that writing would block.
    let watched = io::stdout().as_fd().try_clone_to_owned().and_then(pipe::Sender::from_owned_fd_unchecked);
    if let Ok(watched) = watched
        && watched.ready(Interest::ERROR).await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// Writes a line to standard error. When that is gone there is nobody left to tell.
pub(crate) fn tell(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Columns of the terminal behind standard output; `None` when it is none.
pub(crate) fn columns() -> Option<usize> {
    let out = io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let columns = rustix::termios::tcgetwinsize(&out).map_or(0, |size| usize::from(size.ws_col));
    Some(if columns == 0 { 80 } else { columns })
}
