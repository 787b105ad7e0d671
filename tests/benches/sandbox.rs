//! What confining a command adds to it: `true` through the launcher, with Landlock, seccomp and limits, against
//! `true` with the same environment and process group and without them, turn by turn.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

mod measure;

use std::future::pending;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use measure::{Bound, exit, median, row, shown, verdict};
use necro_host::clock::{Clock, SystemClock};
use necro_host::domain::mask::Mask;
use necro_host::sandbox::{CommandSpec, Confinement, HostEnv, Limits, Sandbox, Unconfinable};

/// Commands of each kind.
const ROUNDS: usize = 300;
/// Commands of each kind that run first.
const WARM_UP: usize = 20;
const BOUND: Bound = Bound::AtMost(8.0);

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let launcher = PathBuf::from(env!("CARGO_BIN_EXE_necro-host"));
    let on = match Confinement::by(launcher) {
        Ok(on) => on,
        Err(Unconfinable { reason }) => {
            println!("skipped: commands cannot be kept in here: {reason}");
            return Ok(ExitCode::SUCCESS);
        }
    };
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    std::fs::create_dir(dir.path().join("work"))?;
    let clock = SystemClock::default();
    let sandbox = |confinement| Sandbox::new(HostEnv::from_process(), Arc::new(SystemClock::default()), confinement);
    let kinds = [sandbox(Confinement::Off), sandbox(on)];
    let mut times: [Vec<Duration>; 2] = Default::default();
    for round in 0..WARM_UP + ROUNDS {
        for (sandbox, times) in kinds.iter().zip(&mut times) {
            let spec = CommandSpec {
                argv: vec!["true".to_owned()],
                dir: dir.path().join("work"),
                scratch: dir.path().join("scratch"),
                readable: Vec::new(),
                network: false,
                limits: Limits::default(),
                env: Default::default(),
                timeout: Duration::from_secs(60),
                output_limit_bytes: 1_000,
                mask: Mask::default(),
            };
            let start = clock.elapsed();
            let finished = sandbox.run(spec, pending()).await?;
            let took = clock.elapsed() - start;
            ensure!(finished.outcome.exit_code == Some(0), "`true` failed: {finished:?}");
            if round >= WARM_UP {
                times.push(took);
            }
        }
    }
    let [off, on] = times.map(|times| median(&times));
    println!("a command that does nothing; medians of {ROUNDS}, turn by turn");
    row("not confined", shown(off));
    row("confined", shown(on));
    let added = (on.as_secs_f64() - off.as_secs_f64()) * 1000.0;
    Ok(exit(&[verdict("sandbox overhead", added, " ms", BOUND)]))
}
