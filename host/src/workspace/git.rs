//! The git command line: the only place that starts it. Every call has an environment of its own, a
//! time limit, an output limit and a process group that is killed whole; no hook, monitor, filter,
//! pager, editor, prompt or alias of anybody's configuration is left to run.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::OnceCell;

mod credentials;
mod failure;
mod retry;

pub(crate) use credentials::Operator;
pub use failure::GitError;
use failure::classify;
pub(crate) use failure::redact_urls;
pub(crate) use retry::Wait;

/// The oldest git that works: `merge-tree --write-tree` came with it.
pub const OLDEST_GIT: (u32, u32) = (2, 38);
/// Time limit of a call that works on local files.
pub(crate) const LOCAL_TIMEOUT: Duration = Duration::from_secs(120);
/// Time limit of a call that copies history, maybe over a network.
pub(crate) const TRANSFER_TIMEOUT: Duration = Duration::from_secs(900);
/// Standard output beyond this ends a call.
const MAX_STDOUT_BYTES: usize = 64 * 1024 * 1024;
/// Standard error beyond this is read and dropped.
const MAX_STDERR_BYTES: usize = 64 * 1024;

/// Configuration of every call. It comes before any file, so whatever these keys name is safe.
const CONFIG: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "core.splitIndex=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.autocrlf=false",
    "core.eol=lf",
    "core.safecrlf=false",
    "core.fileMode=true",
    "core.symlinks=true",
    "core.quotePath=false",
    "core.sparseCheckout=false",
    "core.protectHFS=true",
    "core.protectNTFS=true",
    "core.askPass=",
    "core.editor=false",
    "core.pager=cat",
    "core.fsync=committed,pack-metadata,reference",
    "core.fsyncMethod=fsync",
    "credential.helper=",
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=60",
    "gc.auto=0",
    "maintenance.auto=false",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    // What is fetched is made durable as one pack, not object by object.
    "fetch.unpackLimit=1",
    "fetch.writeCommitGraph=false",
    "merge.conflictStyle=merge",
    "safe.directory=*",
];

/// Git, found and checked once.
#[derive(Debug, Clone)]
pub struct Git {
    inner: Arc<Inner>,
    version: Arc<str>,
}

#[derive(Debug, Clone)]
struct Inner {
    program: PathBuf,
    /// An empty directory that belongs to the host: nothing there to be read.
    home: PathBuf,
    path: OsString,
    network: Vec<(&'static str, OsString)>,
    operator: Operator,
    /// What the operator's own configuration says of credentials, read when it is needed first.
    credentials: Arc<OnceCell<Vec<String>>>,
    wait: Wait,
}

/// What is passed on to calls that talk to another machine: where proxies, certificates and the
/// operator's agent are.
const NETWORK_ENV: &[&str] = &[
    "SSH_AUTH_SOCK",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
];

/// One call to make.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    git_dir: Option<&'a Path>,
    work_tree: Option<&'a Path>,
    index: Option<&'a Path>,
    args: Vec<OsString>,
    stdin: Vec<u8>,
    timeout: Duration,
    transports: &'static str,
    /// Exit codes that are answers, not failures.
    accept: &'static [i32],
    /// Reads the operator's own configuration.
    of_operator: bool,
}

impl<'a> Call<'a> {
    /// A call that uses no repository, or names one in its arguments.
    pub(crate) fn outside() -> Self {
        Self {
            git_dir: None,
            work_tree: None,
            index: None,
            args: Vec::new(),
            stdin: Vec::new(),
            timeout: LOCAL_TIMEOUT,
            transports: "",
            accept: &[0],
            of_operator: false,
        }
    }

    /// A question to the operator's own configuration.
    fn of_operator() -> Self {
        Self { of_operator: true, ..Self::outside() }
    }

    /// A call on the repository at `git_dir`.
    pub(crate) fn on(git_dir: &'a Path) -> Self {
        Self { git_dir: Some(git_dir), ..Self::outside() }
    }

    /// With a work tree and the index that belongs to it.
    pub(crate) fn work_tree(mut self, work_tree: &'a Path, index: &'a Path) -> Self {
        self.work_tree = Some(work_tree);
        self.index = Some(index);
        self
    }

    /// Adds arguments.
    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// What it reads.
    pub(crate) fn stdin(mut self, bytes: Vec<u8>) -> Self {
        self.stdin = bytes;
        self
    }

    /// May copy history by these transports, separated by colons.
    pub(crate) fn transports(mut self, transports: &'static str) -> Self {
        self.transports = transports;
        self.timeout = TRANSFER_TIMEOUT;
        self
    }

    /// Another time limit.
    pub(crate) fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Exit codes that are answers.
    pub(crate) fn accept(mut self, codes: &'static [i32]) -> Self {
        self.accept = codes;
        self
    }

    /// The command's name, when it changes objects, refs, an index or a work tree.
    pub(crate) fn writes(&self) -> Option<&'static str> {
        const WRITING: &[&str] =
            &["fetch", "merge-tree", "push", "read-tree", "update-index", "update-ref", "write-tree"];
        WRITING.iter().copied().find(|name| self.args.first().is_some_and(|first| first == name))
    }

    /// Whether it talks to a server that may ask who this is.
    fn may_be_asked(&self) -> bool {
        !self.transports.is_empty() && self.args.iter().any(|arg| arg.as_encoded_bytes().starts_with(b"http"))
    }

    fn name(&self) -> String {
        self.args.first().map(|a| a.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

/// What a call answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// One of the accepted exit codes.
    pub(crate) code: i32,
    /// Standard output, whole.
    pub(crate) stdout: Vec<u8>,
}

impl Answer {
    /// Standard output as one line of text.
    pub(crate) fn line(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }

    /// The parts of `-z` output.
    pub(crate) fn records(&self) -> impl Iterator<Item = &[u8]> {
        self.stdout.split(|b| *b == 0).filter(|r| !r.is_empty())
    }
}

impl Git {
    /// Finds git in `PATH` and checks its version. `state_dir` gets an empty directory that stands
    /// in for the home directory.
    ///
    /// # Errors
    /// [`GitError::NotInstalled`], [`GitError::TooOld`], or the directory can't be made.
    pub async fn locate(state_dir: &Path) -> Result<Self, GitError> {
        // A relative entry would mean a folder of the work tree.
        let all = std::env::var_os("PATH").unwrap_or_default();
        let dirs: Vec<PathBuf> = std::env::split_paths(&all).filter(|dir| dir.is_absolute()).collect();
        let program =
            dirs.iter().map(|dir| dir.join("git")).find(|path| path.is_file()).ok_or(GitError::NotInstalled)?;
        let inner = Inner {
            program,
            home: make_home(state_dir)?,
            path: std::env::join_paths(dirs).unwrap_or_default(),
            network: NETWORK_ENV.iter().filter_map(|key| Some((*key, std::env::var_os(key)?))).collect(),
            operator: Operator::of_process(),
            credentials: Arc::default(),
            wait: Wait::real(),
        };
        let mut git = Self { inner: Arc::new(inner), version: Arc::from("") };
        let said = git.run(Call::outside().args(["version"])).await?.line();
        let found = said.trim_start_matches("git version ");
        if version(found) < Some(OLDEST_GIT) {
            return Err(GitError::TooOld { found: found.to_owned() });
        }
        git.version = Arc::from(found);
        Ok(git)
    }

    /// The same git, which was checked already, with its home directory in another state directory.
    ///
    /// # Errors
    /// [`GitError::Io`]: the directory can't be made.
    pub fn at_home(&self, state_dir: &Path) -> Result<Self, GitError> {
        let inner = Inner { home: make_home(state_dir)?, ..(*self.inner).clone() };
        Ok(Self { inner: Arc::new(inner), version: Arc::clone(&self.version) })
    }

    /// What `git version` said, without its first words.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The same git for another operator, who never waits.
    #[cfg(test)]
    pub(crate) fn of(&self, operator: Operator, wait: Wait) -> Self {
        let inner = Inner { operator, wait, credentials: Arc::default(), ..(*self.inner).clone() };
        Self { inner: Arc::new(inner), version: Arc::clone(&self.version) }
    }

    /// Makes the call, and makes it again where that can help. Dropping the future kills the whole process group.
    pub(crate) async fn run(&self, call: Call<'_>) -> Result<Answer, GitError> {
        let credentials = if call.may_be_asked() { self.credentials().await } else { &[] };
        let mut tried = 0;
        loop {
            let error = match self.once(&call, credentials).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            tried += 1;
            let Some(pause) = retry::pause(&error, tried) else { return Err(error) };
            tracing::debug!(%error, tried, "git is tried again");
            self.inner.wait.wait(pause).await;
        }
    }

    /// Settings of the operator's credential helpers. What cannot be read is none.
    async fn credentials(&self) -> &[String] {
        let read = async {
            let call = Call::of_operator()
                .args(["config", "--global", "--includes", "--null", "--get-regexp"])
                .args([r"^(credential\.|necro\.credentials$)"])
                .accept(&[0, 1]);
            let printed = self.once(&call, &[]).await.map(|answer| answer.stdout).unwrap_or_default();
            self.inner.operator.settings(&printed)
        };
        self.inner.credentials.get_or_init(|| read).await
    }

    async fn once(&self, call: &Call<'_>, settings: &[String]) -> Result<Answer, GitError> {
        let command = call.name();
        let io = |source| GitError::Io { command: command.clone(), source };
        let mut child = self.command(call, settings).spawn().map_err(io)?;
        let mut group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
        let (mut stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let input = &call.stdin;
        let work = async {
            let feed = async {
                if let Some(pipe) = &mut stdin {
                    // A git that stops reading says why on standard error.
                    let _ = pipe.write_all(input).await;
                }
                drop(stdin);
            };
            let out = read_all(stdout, MAX_STDOUT_BYTES, true);
            let err = read_all(stderr, MAX_STDERR_BYTES, false);
            let ((), out, err) = tokio::join!(feed, out, err);
            let out = out?;
            // More than the limit: killed rather than waited for.
            if out.is_some() { child.wait().await.map(|status| (out, err, Some(status))) } else { Ok((out, err, None)) }
        };
        let limit_s = call.timeout.as_secs();
        let (stdout, stderr, status) = tokio::time::timeout(call.timeout, work)
            .await
            .map_err(|_| GitError::TimedOut { command: command.clone(), limit_s })?
            .map_err(io)?;
        let (Some(stdout), Some(status)) = (stdout, status) else {
            return Err(GitError::TooMuchOutput { command, limit_bytes: MAX_STDOUT_BYTES });
        };
        group.0 = None;
        match status.code() {
            Some(code) if call.accept.contains(&code) => Ok(Answer { code, stdout }),
            code => Err(classify(command, code, &stderr.ok().flatten().unwrap_or_default())),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that starts git")]
    fn command(&self, call: &Call<'_>, settings: &[String]) -> tokio::process::Command {
        let inner = &self.inner;
        let mut command = tokio::process::Command::new(&inner.program);
        command.env_clear().current_dir(&inner.home).process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("PATH", &inner.path).env("HOME", &inner.home).env("LC_ALL", "C").env("TZ", "UTC");
        for (key, value) in [
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_SYSTEM", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ASKPASS", "false"),
            (
                "GIT_SSH_COMMAND",
                "ssh -oBatchMode=yes -oConnectTimeout=30 -oServerAliveInterval=15 -oServerAliveCountMax=4",
            ),
            ("GIT_PAGER", "cat"),
            ("GIT_EDITOR", "false"),
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            ("GIT_NO_LAZY_FETCH", "1"),
            ("GIT_LITERAL_PATHSPECS", "1"),
            ("GIT_AUTHOR_NAME", "NecroCode"),
            ("GIT_AUTHOR_EMAIL", "necro@localhost"),
            ("GIT_COMMITTER_NAME", "NecroCode"),
            ("GIT_COMMITTER_EMAIL", "necro@localhost"),
            ("GIT_ALLOW_PROTOCOL", if call.transports.is_empty() { "none" } else { call.transports }),
        ] {
            command.env(key, value);
        }
        if !call.transports.is_empty() {
            command.envs(inner.network.iter().map(|(key, value)| (key, value)));
        }
        if call.of_operator {
            command.env_remove("GIT_CONFIG_GLOBAL").envs(inner.operator.reading());
        }
        if let Some(index) = call.index {
            command.env("GIT_INDEX_FILE", index);
        }
        for setting in CONFIG.iter().copied().chain(settings.iter().map(String::as_str)) {
            command.args(["-c", setting]);
        }
        if let Some(git_dir) = call.git_dir {
            command.arg("--git-dir").arg(git_dir);
        }
        if let Some(work_tree) = call.work_tree {
            command.arg("--work-tree").arg(work_tree).current_dir(work_tree);
        }
        command.args(&call.args);
        command
    }
}

/// The empty directory that stands in for the home directory.
fn make_home(state_dir: &Path) -> Result<PathBuf, GitError> {
    let home = state_dir.join("git-home");
    std::fs::create_dir_all(&home).map_err(|source| GitError::Io { command: "home".into(), source })?;
    Ok(home)
}

/// A process group that is killed when this goes out of scope, unless it was emptied before.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0.take() {
            // Gone already: nothing to kill.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// Reads to the end. Beyond the limit: `None` at once when `strict`, else the rest is dropped.
async fn read_all(
    pipe: Option<impl AsyncRead + Unpin>,
    limit_bytes: usize,
    strict: bool,
) -> io::Result<Option<Vec<u8>>> {
    let Some(mut pipe) = pipe else { return Ok(Some(Vec::new())) };
    let mut kept = Vec::new();
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let read = pipe.read(&mut buffer).await?;
        if read == 0 {
            return Ok(Some(kept));
        }
        let room = limit_bytes - kept.len();
        if read > room && strict {
            return Ok(None);
        }
        kept.extend_from_slice(&buffer[..read.min(room)]);
    }
}

/// The first two numbers of a version such as `2.47.3` or `2.39.5 (Apple Git-154)`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        for (text, expected) in
            [("2.47.3", Some((2, 47))), ("2.9.0", Some((2, 9))), ("2.39.5 (Apple Git-154)", Some((2, 39))), ("x", None)]
        {
            assert_eq!(version(text), expected);
        }
        assert!(version("2.9.0") < Some(OLDEST_GIT));
        assert!(version("x") < Some(OLDEST_GIT));
    }

    #[tokio::test]
    async fn a_call_that_takes_too_long_is_stopped() {
        let state = tempfile::tempdir().unwrap();
        let git = Git::locate(state.path()).await.unwrap();
        // Opening a pipe that nobody writes to never ends.
        let pipe = state.path().join("pipe");
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let call =
            Call::outside().args(["hash-object", "--no-filters"]).args([&pipe]).within(Duration::from_millis(50));
        assert!(matches!(git.run(call).await, Err(GitError::TimedOut { .. })));
    }
}
