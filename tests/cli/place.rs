//! A temporary folder with repositories in it, the binary with an environment of its own, and a
//! fingerprint that shows whether anything was written.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A folder for one test.
pub(crate) struct Place {
    dir: TempDir,
}

/// How the binary ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    /// It ended with `code`, and standard error has all of `parts`.
    #[track_caller]
    pub(crate) fn refused(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for part in parts {
            assert!(self.err.contains(part), "{part:?} is missing: {self:?}");
        }
        assert!(!self.err.contains("panicked"), "{self:?}");
    }

    /// It ended well; gives standard output.
    #[track_caller]
    pub(crate) fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// It ended well; gives the one JSON value on standard output.
    #[track_caller]
    pub(crate) fn json(self) -> serde_json::Value {
        let out = self.done();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: TempDir::new().unwrap() }
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    pub(crate) fn write(&self, path: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// The binary in `cwd`, without the tester's keys and settings.
    #[expect(clippy::disallowed_methods, reason = "the test starts the binary")]
    pub(crate) fn command(&self, cwd: &str, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_necro-host"));
        command.args(args).current_dir(self.path(cwd)).env_clear();
        for kept in ["PATH", "LD_LIBRARY_PATH", "TMPDIR"] {
            if let Some(value) = std::env::var_os(kept) {
                command.env(kept, value);
            }
        }
        command
            .env("HOME", self.path("home"))
            .env("NECRO_CACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("necro-cache"));
        command.stdin(Stdio::null());
        command
    }

    /// Runs the binary to its end.
    pub(crate) fn run(&self, cwd: &str, args: &[&str]) -> Ended {
        end(&mut self.command(cwd, args))
    }

    /// The same with variables in the environment.
    pub(crate) fn run_with(&self, cwd: &str, args: &[&str], variables: &[(&str, &str)]) -> Ended {
        self.end(self.command(cwd, args).envs(variables.iter().copied()))
    }

    /// Runs a command of this place to its end.
    pub(crate) fn end(&self, command: &mut Command) -> Ended {
        end(command)
    }

    /// The same with something on standard input.
    pub(crate) fn run_on(&self, cwd: &str, args: &[&str], input: &[u8]) -> Ended {
        let mut command = self.command(cwd, args);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        // A refusal may come before everything was read.
        let _ = child.stdin.take().unwrap().write_all(input);
        ended(&child.wait_with_output().unwrap())
    }

    #[expect(clippy::disallowed_methods, reason = "the test makes repositories")]
    pub(crate) fn git(&self, cwd: &str, args: &[&str]) -> String {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=T", "-c", "user.email=t@example.invalid", "-c", "init.defaultBranch=main"]);
        command.args(args).current_dir(self.path(cwd)).env("GIT_CONFIG_GLOBAL", "/dev/null");
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", self.path("home"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A repository with one commit of these files.
    pub(crate) fn repository(&self, name: &str, files: &[(&str, &str)]) {
        fs::create_dir_all(self.path(name)).unwrap();
        self.git(name, &["init", "-q"]);
        self.write(&format!("{name}/README.md"), "# A repository\n");
        for (path, text) in files {
            self.write(&format!("{name}/{path}"), text);
        }
        self.git(name, &["add", "-A"]);
        self.git(name, &["commit", "-q", "-m", "Begin"]);
    }

    /// Every file below a folder with its bytes, `.git` and what is ignored included.
    pub(crate) fn fingerprint(&self, name: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.path(name)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path.clone());
                    files.insert(path, Vec::new());
                } else {
                    files.insert(path.clone(), fs::read(&path).unwrap());
                }
            }
        }
        files
    }
}

fn end(command: &mut Command) -> Ended {
    ended(&command.output().unwrap())
}

fn ended(output: &std::process::Output) -> Ended {
    Ended {
        code: output.status.code(),
        out: String::from_utf8(output.stdout.clone()).unwrap(),
        err: String::from_utf8(output.stderr.clone()).unwrap(),
    }
}
