//! Commands, as real processes.

use std::collections::BTreeMap;
use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::clock::SystemClock;
use crate::domain::mask::Mask;

/// Longer than any test may take: reaching it is a failure.
const LONG: Duration = Duration::from_secs(300);

struct Fixture {
    dir: tempfile::TempDir,
    sandbox: Sandbox,
}

impl Fixture {
    fn new() -> Self {
        let sandbox = Sandbox::new(HostEnv::from_process(), Arc::new(SystemClock::default()), Confinement::Off);
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("work")).unwrap();
        Self { dir, sandbox }
    }

    fn spec(&self, argv: &[&str]) -> CommandSpec {
        CommandSpec {
            argv: argv.iter().map(|a| (*a).to_owned()).collect(),
            dir: self.dir.path().join("work"),
            scratch: self.dir.path().join("scratch"),
            readable: Vec::new(),
            network: false,
            limits: Limits::default(),
            env: BTreeMap::new(),
            timeout: LONG,
            output_limit_bytes: 10_000,
            mask: Mask::default(),
        }
    }

    fn shell(&self, script: &str) -> CommandSpec {
        self.spec(&["sh", "-c", script])
    }

    async fn run(&self, spec: CommandSpec) -> Finished {
        self.sandbox.run(spec, pending()).await.unwrap()
    }
}

/// Whether a process runs: dead ones that nobody reaped yet do not count.
fn is_alive(pid_file: &Path) -> bool {
    let pid = std::fs::read_to_string(pid_file).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

/// Waits for a killed process to be gone, which the kernel does not promise at once.
async fn assert_dies(pid_file: &Path) {
    for _ in 0..100_000 {
        if !is_alive(pid_file) {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{} is still alive", pid_file.display());
}

#[tokio::test]
async fn a_command_ends_with_its_code_and_its_output() {
    let fixture = Fixture::new();
    let finished = fixture.run(fixture.shell("echo out; echo err >&2; cat; exit 3")).await;
    let outcome = &finished.outcome;
    assert_eq!((outcome.exit_code, outcome.stdout.as_str(), outcome.stderr.as_str()), (Some(3), "out\n", "err\n"));
    assert!(!outcome.timed_out && !finished.cancelled && outcome.elided_bytes == 0);
    let killed = fixture.run(fixture.shell("kill -9 $$")).await;
    assert_eq!(killed.outcome.exit_code, None);
    assert!(!killed.outcome.timed_out);
}

#[tokio::test]
async fn what_can_not_be_started_is_told_apart() {
    let fixture = Fixture::new();
    let work = fixture.dir.path().join("work");
    std::fs::write(work.join("plain"), "#!/bin/sh\n").unwrap();
    std::fs::write(work.join("broken"), "#!/no/such/interpreter\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(work.join("broken"), mode).unwrap();
    let kind = async |argv: &[&str]| match fixture.sandbox.run(fixture.spec(argv), pending()).await {
        Ok(_) => "ran".to_owned(),
        Err(SandboxError::MissingProgram { program }) => format!("missing {program}"),
        Err(SandboxError::NotExecutable { .. }) => "not executable".to_owned(),
        Err(SandboxError::Empty) => "empty".to_owned(),
        Err(SandboxError::BadArguments { .. }) => "bad arguments".to_owned(),
        Err(other) => other.to_string(),
    };
    let long = "x".repeat(200_000);
    for (argv, expected) in [
        (&["no-such-program-anywhere"][..], "missing no-such-program-anywhere"),
        (&["./none"], "missing ./none"),
        (&["./plain"], "not executable"),
        (&["./broken"], "missing ./broken (its interpreter)"),
        (&[], "empty"),
        (&[""], "empty"),
        (&["true", "a\0b"], "bad arguments"),
        (&["true", long.as_str()], "bad arguments"),
        (&["true"], "ran"),
    ] {
        assert_eq!(kind(argv).await, expected);
    }
    let spec = CommandSpec { dir: PathBuf::from("/no/such/folder"), ..fixture.spec(&["true"]) };
    assert!(matches!(fixture.sandbox.run(spec, pending()).await, Err(SandboxError::BadFolder { .. })));
}

#[tokio::test]
async fn a_command_sees_nothing_of_the_hosts_environment() {
    let fixture = Fixture::new();
    let mut spec = fixture.shell("env | cut -d= -f1 | sort; echo $HOME; echo $TMPDIR; pwd; echo $MODE");
    spec.env.insert("MODE".into(), "mine".into());
    let finished = fixture.run(spec).await;
    let allowed = [
        "PATH",
        "HOME",
        "TMPDIR",
        "PWD",
        "LANG",
        "TERM",
        "NO_COLOR",
        "CI",
        "GIT_CONFIG_NOSYSTEM",
        "MODE",
        "RUSTUP_HOME",
        "CARGO_HOME",
        "_",
        "SHLVL",
        "OLDPWD",
        "RUSTUP_AUTO_INSTALL",
        "PYENV_ROOT",
        "NVM_DIR",
        "NIX_SSL_CERT_FILE",
        "NIX_PATH",
        "JAVA_HOME",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ];
    let lines: Vec<&str> = finished.outcome.stdout.lines().collect();
    let (names, rest) = lines.split_at(lines.len() - 4);
    for name in names {
        assert!(allowed.contains(name), "{name} was passed on");
    }
    let scratch = fixture.dir.path().join("scratch");
    assert_eq!(rest[0], scratch.join("home").to_string_lossy());
    assert_eq!(rest[1], scratch.join("tmp").to_string_lossy());
    assert_eq!((Path::new(rest[2]).file_name().unwrap().to_str(), rest[3]), (Some("work"), "mine"));
}

#[tokio::test]
async fn a_time_limit_ends_the_whole_group_even_if_it_does_not_want_to() {
    let fixture = Fixture::new();
    let work = fixture.dir.path().join("work");
    // The limit counts from the start, so what must have happened by then is waited for by the
    // cancellation of the next test; here only the end is looked at.
    let mut spec = fixture.shell("trap '' TERM; echo begun; while :; do :; done");
    spec.timeout = Duration::from_millis(300);
    let finished = fixture.run(spec).await;
    assert!(finished.outcome.timed_out && finished.outcome.exit_code.is_none() && !finished.cancelled);
    assert!(finished.outcome.duration_ms >= 300);
    let spec = fixture.shell("(trap '' TERM; exec sleep 1000) & echo $! > child; echo $$ > main; wait");
    let (child, main) = (work.join("child"), work.join("main"));
    let begun = {
        let main = main.clone();
        async move {
            while std::fs::read_to_string(&main).unwrap_or_default().is_empty() {
                tokio::task::yield_now().await;
            }
        }
    };
    let finished = fixture.sandbox.run(spec, begun).await.unwrap();
    assert!(finished.cancelled && !finished.outcome.timed_out && finished.outcome.exit_code.is_none());
    assert_dies(&main).await;
    assert_dies(&child).await;
}

#[tokio::test]
async fn what_outlives_its_command_is_killed_and_not_waited_for() {
    let fixture = Fixture::new();
    let work = fixture.dir.path().join("work");
    // The child keeps the pipe open; waiting for its end would take 1,000 s.
    let finished = fixture.run(fixture.shell("sleep 1000 & echo $! > child; echo done")).await;
    assert_eq!((finished.outcome.exit_code, finished.outcome.stdout.as_str()), (Some(0), "done\n"));
    assert_dies(&work.join("child")).await;
}

#[tokio::test]
async fn dropping_the_future_kills_the_group() {
    let fixture = Fixture::new();
    let work = fixture.dir.path().join("work");
    let main = work.join("main");
    let spec = fixture.shell("echo $$ > main; sleep 1000");
    tokio::select! {
        _ = fixture.sandbox.run(spec, pending()) => panic!("it ended by itself"),
        () = async {
            while std::fs::read_to_string(&main).unwrap_or_default().is_empty() {
                tokio::task::yield_now().await;
            }
        } => {}
    }
    assert_dies(&main).await;
}

#[tokio::test]
async fn a_flood_of_output_is_bounded_and_counted() {
    let fixture = Fixture::new();
    let script = "echo first; head -c 50000000 /dev/zero | tr '\\0' x; echo; echo last; echo oops >&2";
    let finished = fixture.run(fixture.shell(script)).await;
    let outcome = &finished.outcome;
    assert_eq!(outcome.exit_code, Some(0));
    assert!(outcome.stdout.starts_with("first\nxxx") && outcome.stdout.ends_with("xxx\nlast\n"));
    assert!(outcome.stdout.len() < 11_000 && outcome.stderr.contains("oops"));
    let shown = (outcome.stdout.len() + outcome.stderr.len()) as u64;
    assert!(outcome.elided_bytes + shown >= 50_000_017 && outcome.elided_bytes <= 50_000_017);
    assert!(finished.log.len() <= MAX_LOG_BYTES + 100);
}

#[tokio::test]
async fn secrets_do_not_come_back_in_output() {
    let fixture = Fixture::new();
    let mut spec = fixture.shell("printf hunter2-; printf secret-value; echo hunter2-secret-value >&2");
    spec.mask = Mask::new(["hunter2-secret-value"]);
    let finished = fixture.run(spec).await;
    let all = format!("{finished:?}{}", String::from_utf8_lossy(&finished.log));
    assert!(!all.contains("hunter2"), "{all}");
    assert_eq!(finished.outcome.stdout, Mask::MARKER);
}

#[tokio::test]
async fn the_toolchain_is_found_although_home_is_private() {
    let fixture = Fixture::new();
    let finished = fixture.run(fixture.spec(&["cargo", "--version"])).await;
    assert!(finished.outcome.stdout.starts_with("cargo 1."), "{finished:?}");
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn what_left_the_group_is_killed_too() {
    let fixture = Fixture::new();
    let work = fixture.dir.path().join("work");
    let script = "setsid sh -c 'echo $$ > stray; exec sleep 1000' > /dev/null 2>&1 & \
                  while ! [ -s stray ]; do :; done; echo done";
    let finished = fixture.run(fixture.shell(script)).await;
    assert_eq!(finished.outcome.stdout, "done\n");
    assert_dies(&work.join("stray")).await;
}

#[tokio::test]
#[cfg(target_os = "linux")]
#[expect(clippy::disallowed_methods, reason = "stands for a command of a host that was killed")]
async fn what_a_killed_host_left_behind_is_ended_and_nothing_else() {
    let fixture = Fixture::new();
    let scratch = fixture.dir.path().join("scratch");
    let start = |home: PathBuf| {
        let mut command = std::process::Command::new("sleep");
        command.arg("1000").env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", home);
        command.spawn().unwrap()
    };
    let mut stray = start(scratch.join("home"));
    let mut other = start(scratch.join("home2"));
    assert_eq!(fixture.sandbox.end_strays(&scratch).await, 1);
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&stray.wait().unwrap()), Some(9));
    assert_eq!(other.try_wait().unwrap(), None);
    assert_eq!(fixture.sandbox.end_strays(&scratch).await, 0);
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
#[cfg(target_os = "linux")]
#[expect(clippy::disallowed_methods, reason = "a process that no command started")]
fn processes_without_an_environment_are_waited_for_only_so_long() {
    let dir = tempfile::tempdir().unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let sleep = std::env::split_paths(&path).map(|dir| dir.join("sleep")).find(|path| path.is_file()).unwrap();
    let mut bare = std::process::Command::new(sleep).arg("1000").env_clear().spawn().unwrap();
    assert_eq!(end_strays(dir.path()), 0);
    assert_eq!(bare.try_wait().unwrap(), None);
    bare.kill().unwrap();
    bare.wait().unwrap();
}

#[tokio::test]
async fn a_private_folder_that_became_a_link_is_made_anew() {
    let fixture = Fixture::new();
    let victim = fixture.dir.path().join("victim");
    std::fs::create_dir(&victim).unwrap();
    let mode = || std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&victim).unwrap().permissions());
    let before = mode();
    fixture.run(fixture.shell("rmdir $HOME && ln -s ../victim $HOME")).await;
    fixture.run(fixture.shell("touch $HOME/x")).await;
    assert_eq!((std::fs::read_dir(&victim).unwrap().count(), mode()), (0, before));
}
