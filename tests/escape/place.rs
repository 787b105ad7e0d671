//! A slot with something worth taking beside it, and processes that do not belong to it.

use std::collections::BTreeMap;
use std::future::pending;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use necro_host::clock::SystemClock;
use necro_host::domain::mask::Mask;
use necro_host::sandbox::{CommandSpec, Confinement, Finished, HostEnv, Limits, Sandbox};

use crate::rows::{Row, Script};

/// Longer than any test may take.
const LONG: Duration = Duration::from_secs(300);

/// The sandbox of the binary, or none where the kernel has none.
pub(crate) fn confinement() -> Option<Confinement> {
    match Confinement::by(PathBuf::from(env!("CARGO_BIN_EXE_necro-host"))) {
        Ok(on) => Some(on),
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}

pub(crate) struct Place {
    dir: tempfile::TempDir,
    /// Somebody else's process, with a secret in its environment.
    victim: Child,
    tcp: std::net::TcpListener,
    _socket: UnixListener,
}

impl Place {
    #[expect(clippy::disallowed_methods, reason = "a process that no command started")]
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for folder in ["slot/work", "slot/git", "slot/scratch", "outside/home"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        for file in ["slot/git/HEAD", "outside/secret", "outside/home/.profile", "slot/work/mine"] {
            std::fs::write(dir.path().join(file), "hunter2\n").unwrap();
        }
        let mut command = Command::new("/bin/sleep");
        command.arg("1000").env_clear().env("SECRET", "hunter2").stdin(Stdio::null());
        let victim = command.spawn().unwrap();
        let socket = UnixListener::bind(dir.path().join("outside/socket")).unwrap();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Self { dir, victim, tcp, _socket: socket }
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    pub(crate) fn sandbox(&self, confinement: Confinement) -> Sandbox {
        // The system's own programs, so that all rows mean the same everywhere.
        let host = HostEnv::from_variables(&|key| match key {
            "PATH" => Some("/usr/bin:/bin".into()),
            "HOME" => Some(self.path("outside/home").into()),
            "OPENAI_API_KEY" => Some("hunter2".into()),
            _ => None,
        });
        Sandbox::new(host, Arc::new(SystemClock::default()), confinement)
    }

    pub(crate) fn spec(&self, argv: &[&str]) -> CommandSpec {
        let env = BTreeMap::from([
            ("OUT".to_owned(), self.path("outside").display().to_string()),
            ("VICTIM".to_owned(), self.victim.id().to_string()),
            ("PORT".to_owned(), self.tcp.local_addr().unwrap().port().to_string()),
        ]);
        CommandSpec {
            argv: argv.iter().map(|part| (*part).to_owned()).collect(),
            dir: self.path("slot/work"),
            scratch: self.path("slot/scratch"),
            readable: vec![self.path("slot/git")],
            network: false,
            limits: Limits::default(),
            env,
            timeout: LONG,
            output_limit_bytes: 10_000,
            mask: Mask::default(),
        }
    }

    pub(crate) async fn run(&self, sandbox: &Sandbox, spec: CommandSpec) -> Finished {
        sandbox.run(spec, pending()).await.unwrap()
    }

    /// Everything that a row's command says.
    pub(crate) async fn said(&self, sandbox: &Sandbox, row: &Row) -> String {
        let spec = match row.script {
            Script::Shell(text) => self.spec(&["sh", "-c", text]),
            Script::Python(_) if !Path::new("/usr/bin/python3").exists() => {
                eprintln!("skipped: {} needs /usr/bin/python3", row.name);
                return row.stops.to_owned();
            }
            Script::Python(text) => {
                let text = format!("{PRELUDE}{text}");
                self.spec(&["python3", "-S", "-c", &text])
            }
        };
        String::from_utf8_lossy(&self.run(sandbox, spec).await.log).into_owned()
    }

    /// Names, lengths and rights of everything outside `work/` and the private folders.
    pub(crate) fn picture(&self) -> Vec<String> {
        let mut found = Vec::new();
        for folder in ["", "slot", "slot/git", "outside", "outside/home"] {
            for entry in std::fs::read_dir(self.path(folder)).unwrap() {
                let entry = entry.unwrap();
                let data = entry.metadata().unwrap();
                let length = if data.is_file() { data.len() } else { 0 };
                found.push(format!("{folder}/{} {length}", entry.file_name().to_string_lossy()));
            }
        }
        found.sort();
        found
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
    }
}

/// System calls by their numbers, which Python has no other name for.
const PRELUDE: &str = r#"
import ctypes, os, sys, platform
libc = ctypes.CDLL(None, use_errno=True)
OUT, VICTIM, PORT = os.environ["OUT"], int(os.environ["VICTIM"]), int(os.environ["PORT"])
def call(x86, arm, *args):
    number = x86 if platform.machine() == "x86_64" else arm
    args = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    if libc.syscall(ctypes.c_long(number), *args) < 0:
        print(os.strerror(ctypes.get_errno()))
    else:
        print("ESCAPED")
"#;
