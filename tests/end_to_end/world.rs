//! A place of one test: a repository, a state directory, a temporary directory, and the binary run in
//! it with an environment that has nothing of the developer's own settings.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use necro_host::workspace::seed_repository;
use serde_json::Value;

use crate::records::Records;

/// Variables of the developer that programs need to be found.
const PASSED_ON: &[&str] = &["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "LANG"];

/// The settings of most test repositories: text files, of which none may say `broken`.
pub(crate) const SETTINGS: &str = r#"[gate]
commands = ["check"]

[commands.check]
run = ["sh", "-c", "! grep -n broken *.txt"]
"#;

/// The end of a plan whose tasks 1 and 2 do not wait for each other, as tasks without it do.
pub(crate) const SIDE_BY_SIDE: &str = "
## Task Dependency Graph

```json
{\"waves\":[{\"id\":0,\"tasks\":[\"1\",\"2\"]}]}
```
";

/// A repository and everything around it; gone when dropped.
pub(crate) struct World {
    dir: tempfile::TempDir,
}

/// How the binary ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    /// The one JSON line of `--json`.
    pub(crate) fn json(&self) -> Value {
        let lines: Vec<&str> = self.stdout.lines().collect();
        let [line] = lines[..] else { panic!("not one line on standard output: {self:#?}") };
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// The JSON line of a run that did all that there was to do.
    pub(crate) fn done(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:#?}");
        let summary = self.json();
        assert_eq!(summary["outcome"], "done", "{self:#?}");
        summary
    }
}

impl World {
    /// A world whose repository has these files in its one commit.
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        Self::below(&std::env::temp_dir(), files)
    }

    /// The same in a folder of its own below `parent`.
    pub(crate) fn below(parent: &Path, files: &[(&str, &str)]) -> Self {
        let world = Self { dir: tempfile::tempdir_in(parent).unwrap() };
        for folder in ["state", "tmp"] {
            fs::create_dir(world.path(folder)).unwrap();
        }
        let at = jiff::Timestamp::constant(1_767_225_600, 0);
        seed_repository(&world.repository(), files, "Begin", at).unwrap();
        world
    }

    /// A world whose repository is a copy of a folder of fixtures.
    pub(crate) fn of_fixture(folder: &Path) -> Self {
        let texts: Vec<(String, String)> = files_below(folder)
            .into_iter()
            .map(|path| (path.to_str().unwrap().to_owned(), fs::read_to_string(folder.join(&path)).unwrap()))
            .collect();
        let files: Vec<(&str, &str)> = texts.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        Self::new(&files)
    }

    /// A path in the world.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The user's repository.
    pub(crate) fn repository(&self) -> PathBuf {
        self.path("repository")
    }

    /// The state directory.
    pub(crate) fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// Writes a file into the world and gives its path as text.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The binary, before its arguments.
    pub(crate) fn binary(&self) -> Command {
        let mut command = plain(env!("CARGO_BIN_EXE_necro-host"));
        command.env("NECRO_CACHE", cache()).env("TMPDIR", self.path("tmp")).current_dir(self.dir.path());
        command
    }

    /// `COMMAND --repo … --state …` with further arguments.
    pub(crate) fn command(&self, name: &str, args: &[&str]) -> Command {
        let mut command = self.binary();
        command.arg(name).arg("--repo").arg(self.repository()).arg("--state").arg(self.state()).args(args);
        command
    }

    /// Grants a component of the tests everything that it asks for.
    pub(crate) fn grant(&self, component: &Path) {
        let granting =
            self.binary().args(["plugin", "grant", "--all", "--repo"]).arg(self.repository()).arg(component).output();
        assert!(granting.as_ref().unwrap().status.success(), "{granting:?}");
    }

    /// `run --json` with scripted replies to its end.
    pub(crate) fn run(&self, replies: &str, args: &[&str]) -> Finished {
        let script = format!("scripted:{}", self.file("replies.toml", replies));
        finish(self.command("run", &["--json", "--llm", &script]).args(args))
    }

    /// What the registry knows.
    pub(crate) fn records(&self) -> Records {
        Records::open(&self.state())
    }

    /// The mirror in the state directory.
    pub(crate) fn mirror(&self) -> PathBuf {
        mirror_below(&self.state())
    }

    /// A file at the tip of the run's branch; absent when there is none.
    pub(crate) fn on_branch(&self, spec: &str, path: &str) -> Option<String> {
        let at = format!("refs/heads/necro/{spec}:{path}");
        let mut command = plain("git");
        let shown = command.arg("--git-dir").arg(self.mirror()).args(["show", &at]).output().unwrap();
        shown.status.success().then(|| String::from_utf8(shown.stdout).unwrap())
    }
}

/// The mirror below a state directory.
pub(crate) fn mirror_below(state: &Path) -> PathBuf {
    let mut repositories = fs::read_dir(state.join("repos")).unwrap();
    repositories.next().unwrap().unwrap().path().join("mirror.git")
}

#[expect(clippy::disallowed_methods, reason = "a test that starts the binary, git and cargo")]
fn bare(program: &str) -> Command {
    Command::new(program)
}

/// A program with nothing in its environment but what programs need to be found.
pub(crate) fn plain(program: &str) -> Command {
    let mut command = bare(program);
    command.env_clear().stdin(Stdio::null());
    for name in PASSED_ON {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    command
}

/// Runs a command to its end.
pub(crate) fn finish(command: &mut Command) -> Finished {
    let output = command.output().unwrap();
    Finished {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs git in a folder; its output without the last line break.
pub(crate) fn git(folder: &Path, args: &[&str]) -> String {
    let finished = finish(plain("git").current_dir(folder).args(args));
    assert_eq!(finished.code, Some(0), "git {args:?}: {finished:#?}");
    finished.stdout.trim_end().to_owned()
}

/// Whether a program can be started at all; says so when it cannot.
pub(crate) fn has(program: &str, what: &str) -> bool {
    let found = plain(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("skipped: {what} needs {program}");
    }
    found
}

/// Compiled components, shared by all tests: made by the first one, while the others wait.
pub(crate) fn cache() -> &'static Path {
    static CACHE: OnceLock<PathBuf> = OnceLock::new();
    CACHE.get_or_init(|| {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("end_to_end-components");
        fs::create_dir_all(&folder).unwrap();
        // The binary trusts compiled components only where nobody else can write.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        let lock = fs::File::create(folder.join("warm.lock")).unwrap();
        lock.lock().unwrap();
        warm(&folder);
        folder
    })
}

/// Lets a run that is refused after it has loaded its components compile them.
fn warm(folder: &Path) {
    use std::os::unix::fs::MetadataExt as _;
    let binary = fs::metadata(env!("CARGO_BIN_EXE_necro-host")).unwrap();
    let done = folder.join(format!("warm-{}-{}-{}", binary.size(), binary.mtime(), binary.mtime_nsec()));
    if done.exists() {
        return;
    }
    let world = World::new(&[(".kiro/specs/none/tasks.md", "no task\n")]);
    let script = format!("scripted:{}", world.file("replies.toml", "version = 1\n"));
    let mut command = plain(env!("CARGO_BIN_EXE_necro-host"));
    command.env("NECRO_CACHE", folder).args(["run", "--spec", "none", "--llm", &script]);
    command.arg("--repo").arg(world.repository()).arg("--state").arg(world.state());
    let finished = finish(&mut command);
    assert_eq!(finished.code, Some(2), "{finished:#?}");
    fs::write(done, "").unwrap();
}

/// Every file below a folder, relative, sorted.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Content and permissions of everything in a repository but the state directory.
pub(crate) fn picture(folder: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    use std::os::unix::fs::PermissionsExt as _;
    let files = files_below(folder).into_iter().filter(|path| !path.starts_with(".necro"));
    files
        .map(|path| {
            let full = folder.join(&path);
            let mode = fs::symlink_metadata(&full).unwrap().permissions().mode();
            let bytes = if full.is_symlink() {
                fs::read_link(&full).unwrap().into_os_string().into_encoded_bytes()
            } else {
                fs::read(&full).unwrap()
            };
            (path, (mode, bytes))
        })
        .collect()
}

/// Whoever waits longer than this for the binary waits for ever: the test fails instead.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);

/// The binary while it runs. It is killed when dropped, and when a test has waited too long.
pub(crate) struct Running {
    child: Child,
    _watched: mpsc::Sender<()>,
    stderr: BufReader<std::process::ChildStderr>,
    heard: String,
}

impl Running {
    /// Starts a command.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (watched, watching) = mpsc::channel();
        let id = child.id();
        std::thread::spawn(move || {
            if watching.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                signal(id, rustix::process::Signal::KILL);
            }
        });
        Self { child, _watched: watched, stderr, heard: String::new() }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Reads standard error until `count` lines in all had `part` in them.
    pub(crate) fn wait_for(&mut self, part: &str, count: usize) {
        while self.heard.lines().filter(|line| line.contains(part)).count() < count {
            let read = self.stderr.read_line(&mut self.heard).unwrap();
            assert!(read > 0, "it ended before `{part}` stood there {count} times:\n{}", self.heard);
        }
    }

    /// What Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        signal(self.id(), rustix::process::Signal::INT);
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Finished {
        self.stderr.read_to_string(&mut self.heard).unwrap();
        let mut stdout = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        let status: ExitStatus = self.child.wait().unwrap();
        Finished { code: status.code(), stdout, stderr: std::mem::take(&mut self.heard) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(id: u32, signal: rustix::process::Signal) {
    let id = rustix::process::Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
    rustix::process::kill_process(id, signal).unwrap();
}

/// A named pipe: whatever opens it for writing is held until the test reads it.
pub(crate) struct Pipe(PathBuf);

impl Pipe {
    /// Makes it.
    pub(crate) fn new(path: PathBuf) -> Self {
        assert_eq!(finish(plain("mkfifo").arg(&path)).code, Some(0));
        Self(path)
    }

    /// Waits until somebody writes into it.
    pub(crate) fn wait(&self) {
        let (done, waiting) = mpsc::channel();
        let path = self.0.clone();
        std::thread::spawn(move || done.send(fs::read(path).is_ok()));
        assert_eq!(waiting.recv_timeout(PATIENCE), Ok(true), "nobody wrote into {}", self.0.display());
    }
}
