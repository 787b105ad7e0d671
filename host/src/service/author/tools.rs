//! The author's compilers and test runners: started with the author's environment, bounded in time and output.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::AuthorError;
use crate::service::error::ServiceError;

/// A build or a test run may take so long.
const LIMIT: Duration = Duration::from_secs(30 * 60);
/// Bytes of each output that are kept, from the end: what went wrong stands there.
const MAX_OUTPUT_BYTES: usize = 4 << 20;
/// Bytes that are read at once.
const PIECE_BYTES: usize = 64 << 10;

/// What cargo and its subcommands say of the crate that they are building, and what is for its machine: a
/// build inside of a test must not take it for its own.
const CLEARED: &[&str] = &[
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_TARGET_TMPDIR",
    "CARGO_CRATE_NAME",
    "CLIPPY_ARGS",
    "DEBUG",
    "HOST",
    "LD_LIBRARY_PATH",
    "NUM_JOBS",
    "OPT_LEVEL",
    "OUT_DIR",
    "PROFILE",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTDOC",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
    "TARGET",
    "VIRTUAL_ENV",
];
/// Beginnings of such names.
const CLEARED_PREFIXES: &[&str] = &["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CFG_", "CARGO_FEATURE_"];

/// What to start.
pub(super) struct Tool<'a> {
    /// What it is called in errors.
    pub(super) name: &'static str,
    /// A path, or a name that is looked for.
    pub(super) program: PathBuf,
    /// What it is for, such as "building `x`".
    pub(super) what: String,
    pub(super) args: Vec<OsString>,
    pub(super) dir: &'a Path,
    pub(super) env: Vec<(&'static str, OsString)>,
    /// What to type when it is missing.
    pub(super) advice: String,
}

/// How it ended.
pub(super) struct Ran {
    pub(super) success: bool,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Tool<'_> {
    /// Runs it to its end.
    ///
    /// # Errors
    /// [`AuthorError::Missing`], [`AuthorError::TooLong`]; how it ends otherwise is in the answer.
    pub(super) async fn run(self) -> Result<Ran, ServiceError> {
        let mut child = self.command().spawn().map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => {
                ServiceError::from(AuthorError::Missing { tool: self.name, advice: self.advice.clone() })
            }
            _ => ServiceError::Io { path: self.program.clone(), source },
        })?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let work = async {
            let (stdout, stderr) = tokio::join!(end_of(stdout), end_of(stderr));
            child.wait().await.map(|status| Ran { success: status.success(), stdout, stderr })
        };
        match tokio::time::timeout(LIMIT, work).await {
            Ok(ran) => ran.map_err(|source| ServiceError::Io { path: self.program, source }),
            Err(_) => Err(AuthorError::TooLong { what: self.what, limit_s: LIMIT.as_secs() }.into()),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "an author's own compiler is no work of a spirit")]
    fn command(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(&self.args).current_dir(self.dir).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for (name, _) in std::env::vars_os() {
            let Some(text) = name.to_str() else { continue };
            if CLEARED.contains(&text) || CLEARED_PREFIXES.iter().any(|prefix| text.starts_with(prefix)) {
                command.env_remove(&name);
            }
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// The end of what comes, as text.
async fn end_of(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let (mut kept, mut piece) = (Vec::new(), vec![0; PIECE_BYTES]);
    while let Ok(count @ 1..) = stream.read(&mut piece).await {
        kept.extend_from_slice(&piece[..count]);
        if kept.len() > 2 * MAX_OUTPUT_BYTES {
            kept.drain(..kept.len() - MAX_OUTPUT_BYTES);
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}
