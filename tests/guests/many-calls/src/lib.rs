//! Reads files, and runs a command in place of every fiftieth, as many times in all as its settings say.
//! Then it asks for a task: benches see by that call that it goes on behind its record.
#![forbid(unsafe_code)]

use necro_sdk::host::{command, registry, workspace};
use necro_sdk::spirit::{Assignment, Prompt, Report, WorkKind};
use necro_sdk::{Failure, Settings, Spirit};

/// Each of so many calls is a command, which makes those before it durable.
const COMMAND_EVERY: u32 = 50;

/// Calls and calls.
#[derive(Debug)]
pub struct ManyCalls;

impl Spirit for ManyCalls {
    fn role() -> &'static str {
        "reader"
    }

    fn title() -> &'static str {
        "Reader"
    }

    fn skills() -> &'static [&'static str] {
        &[]
    }

    fn prompt(_: WorkKind) -> Option<Prompt> {
        None
    }

    fn perform(assignment: &Assignment, settings: &Settings) -> Result<Report, Failure> {
        let mut bytes = 0;
        for number in 1..=settings.read::<u32>()? {
            bytes += if number % COMMAND_EVERY == 0 {
                command::run("test", &[format!("part_{number}")]).map_err(Failure::Host)?.stdout.len()
            } else {
                let lines = workspace::LineRange { start: 1, count: 20 };
                let path = format!("src/handlers/part_{number}.rs");
                workspace::read(&path, Some(lines)).map_err(Failure::Host)?.text.len()
            };
        }
        let task = registry::task(&assignment.task).map_err(Failure::Host)?;
        Ok(Report { title: task.title, summary: format!("{bytes} bytes were read") })
    }
}

necro_sdk::export_spirit!(ManyCalls);
