//! `stop`: asks the process that works in a state directory to end in order, and waits for it.

use std::time::Duration;

use serde::Serialize;

use super::args::StopArgs;
use super::style::Style;
use super::{open, out, words};
use crate::service::ServiceError;
use crate::service::control::{self, OwnerStatus, Stopped};

/// How often is said that it is still waited for, in seconds.
const SAY_EVERY_S: u64 = 10;

/// What `stop --json` prints.
#[derive(Debug, Serialize)]
struct Summary {
    /// False when nobody was there.
    stopped: bool,
    /// Who was.
    owner: Option<OwnerStatus>,
}

/// Runs `stop`.
pub(crate) async fn run(args: StopArgs, style: Style) -> Result<(), ServiceError> {
    let state = open::state(&args.place).await?;
    let limit = Duration::from_secs(u64::from(args.timeout));
    let stopped = control::stop(&state, limit, &tell).await?;
    if args.json {
        return out::json(&match stopped {
            Stopped::Nobody => Summary { stopped: false, owner: None },
            Stopped::Ended(owner) => Summary { stopped: true, owner: Some(owner) },
        });
    }
    out::print(&match stopped {
        Stopped::Nobody => format!("nothing to stop: no process works in {}\n", state.root().display()),
        Stopped::Ended(owner) => text(&owner, &open::flags(&args.place), style),
    })
}

fn tell(owner: &OwnerStatus, waited: Duration) {
    let (pid, seconds) = (owner.pid, waited.as_secs());
    if seconds == 0 {
        out::tell(&format!(
            "process {pid} was told to stop; waiting until running attempts have closed their journals"
        ));
    } else if seconds.is_multiple_of(SAY_EVERY_S) {
        out::tell(&format!("process {pid} is still there after {}", words::took(seconds * 1000)));
    }
}

fn text(owner: &OwnerStatus, flags: &str, style: Style) -> String {
    let OwnerStatus { pid, since: _, run, spec, stopping: _ } = owner;
    let run = match (run, spec) {
        (Some(run), Some(spec)) => format!(", which worked on the spec {spec} ({run})"),
        _ => String::new(),
    };
    format!(
        "{} process {pid}{run}\nlook:   necro-host status{flags}\ngo on:  necro-host resume{flags}\n",
        style.green("ended:")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::{RunId, SpecName};

    #[test]
    fn the_end_says_who_it_was_and_how_to_go_on() {
        let mut owner = OwnerStatus {
            pid: 7,
            since: "2026-11-22T10:00:00Z".parse().unwrap(),
            run: RunId::new("run-1").ok(),
            spec: SpecName::new("shop").ok(),
            stopping: true,
        };
        let shown = text(&owner, " --state /s", Style::plain());
        assert!(shown.starts_with("ended: process 7, which worked on the spec shop (run-1)\n"), "{shown}");
        assert!(shown.contains("necro-host status --state /s\n"), "{shown}");
        (owner.run, owner.spec) = (None, None);
        assert!(text(&owner, "", Style::plain()).starts_with("ended: process 7\n"));
    }
}
