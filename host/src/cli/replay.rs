//! `replay`: a run repeated and compared, other policies tried over it, or one moment of an attempt written
//! out. `sides` shows differences.

mod sides;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::args::Place;
use super::report::WORK_FAILED;
use super::run::cache_dir;
use super::style::Style;
use super::table::{Cell, Table};
use super::{neutral, open, out, words};
use crate::clock::{Clock as _, SystemClock};
use crate::domain::id::{self, RunId};
use crate::service::replay::{
    AttemptName, Changed, Comparison, Listed, Moment, ReplayOptions, StrictReport, Watching, Written, at, compare,
    strict,
};
use crate::service::{PluginChoice, ServiceError};

/// Lines about executions of one kind that are printed; --json has more.
const MAX_LISTED: usize = 20;

/// Flags of `replay`.
#[derive(Debug, Args)]
#[command(
    after_help = "Nothing is asked, sent or changed: all of it comes from the records, also from a copy of the state \
directory on another machine (--state DIR), or from one that cannot be written.

A run: every execution again; calls, outcomes and, under the same engine, fuel are compared. The first \
difference is shown with both sides. Exit code 1 when something differs or cannot be repeated.

--with: another policy sees the recorded inputs, with a state of its own that begins empty. What comes after \
the first change is an estimate (~), because its input is a consequence of the old decisions. A heuristic joins \
those of the run, or replaces the one of its name. Settings are those on record for a plugin of its name.

--into: writes `work/` (the work tree after call N, without ignored files), `conversation.md`, \
`conversation.json` (what the model was told last, and its answer) and `call.json` (call N itself).

Examples:
  necro-host replay                                     the newest run
  necro-host replay 019a2b7c-…  --state /backup/necro
  necro-host replay --with routing=mine.wasm            which tasks would have gone to whom
  necro-host replay --with review=secret-scan --with review=mine.wasm
  necro-host replay 2.1#1 --at 7 --into /tmp/then       as it was after call 7; `logs` numbers calls
  necro-host replay login-ui/2.1#1 --into /tmp/then     as it was at its end

JSON: of a run an object with `run`, `executions`, `same`, `calls`, `fuel_compared`, `partly`, `not_repeatable`, \
`different` (each `count` and `first`), `first_difference` (`execution`, `call`, `recorded`, `now`), \
`duration_ms`; with --with `tried` and `changed` (`at`, `kind`, `attempt`, `recorded`, `new`, `reason`, \
`estimate`, `failed`, `review`); with --into `into`, `call`, `calls`, `tree`, `changes_redone`, `notes`."
)]
pub(crate) struct ReplayArgs {
    /// The run [default: the newest]; with --into an attempt, such as `2.1#1` or `login-ui/2.1#1`.
    #[arg(value_name = "RUN|ATTEMPT")]
    what: Option<String>,
    /// Try this policy or heuristic over the run: routing, scheduling or review.
    #[arg(long, value_name = "KIND=NAME|PATH", conflicts_with_all = ["at", "into"])]
    with: Vec<String>,
    /// After this call of the attempt; 0 is its beginning [default: its last call].
    #[arg(long, value_name = "N", requires = "into")]
    at: Option<u64>,
    /// Write the attempt as it was into this folder, new or empty.
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Where.
    #[command(flatten)]
    place: Place,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A strict replay with how long it took.
#[derive(Serialize)]
struct Timed<'a> {
    #[serde(flatten)]
    report: &'a StrictReport,
    duration_ms: u64,
}

/// Runs `replay`.
pub(crate) async fn run(args: ReplayArgs, style: Style, err: Style) -> Result<ExitCode, ServiceError> {
    let ReplayArgs { what, with, at, into, place, json } = args;
    let mut options = ReplayOptions {
        repository: place.repo.clone(),
        cwd: open::cwd()?,
        state: place.state.clone(),
        cache: cache_dir(),
        run: None,
        watching: None,
    };
    let is_attempt = what.as_deref().is_some_and(|what| what.contains('#'));
    match (what, into) {
        (Some(what), Some(into)) => {
            let moment = Moment { attempt: what.parse::<AttemptName>()?, call: at, into };
            return write_out(options, moment, json).await;
        }
        (None, Some(_)) => {
            return Err(ServiceError::Usage("--into writes one attempt: name it, such as 2.1#1".to_owned()));
        }
        (Some(what), None) if is_attempt => {
            return Err(ServiceError::Usage(format!("say with --into DIR where {what} shall be written")));
        }
        (what, None) => options.run = what.map(RunId::new).transpose()?,
    }
    if with.is_empty() {
        return repeat(options, &open::flags(&place), json, style, err).await;
    }
    let with = with.iter().map(|text| text.parse()).collect::<Result<Vec<PluginChoice>, _>>()?;
    let comparison = compare(options, with).await?;
    if json {
        out::json(&comparison)?;
    } else {
        out::print(&compared(&comparison, style, out::columns()))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn write_out(options: ReplayOptions, moment: Moment, json: bool) -> Result<ExitCode, ServiceError> {
    let written = at(options, moment).await?;
    if json {
        out::json(&written)?;
    } else {
        out::print(&moment_words(&written))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn repeat(
    mut options: ReplayOptions,
    flags: &str,
    json: bool,
    style: Style,
    err: Style,
) -> Result<ExitCode, ServiceError> {
    let clock = SystemClock::default();
    let bar = (!json && std::io::stderr().is_terminal()).then(progress);
    options.watching = bar.clone().map(|bar| -> Watching {
        Arc::new(move |passed| {
            bar.set_length(passed.of);
            bar.set_position(passed.executions);
        })
    });
    let began = clock.elapsed();
    let report = strict(options).await;
    let took = clock.elapsed().saturating_sub(began);
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let report = report?;
    if json {
        out::json(&Timed { report: &report, duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX) })?;
    } else {
        out::print(&repeated(&report, flags, style))?;
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        out::tell(&err.dim(&format!(
            "{} in {}{}",
            counted(report.calls, "call"),
            words::took(ms),
            rate(report.calls, ms)
        )));
    }
    Ok(if report.holds() { ExitCode::SUCCESS } else { ExitCode::from(WORK_FAILED) })
}

/// Calls in a second, once there are so many that starting does not count.
fn rate(calls: u64, ms: u64) -> String {
    const MANY: u64 = 1_000;
    if calls < MANY { String::new() } else { format!(", {} calls/s", calls.saturating_mul(1_000) / ms.max(1)) }
}

fn progress() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} executions  {elapsed}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn counted(number: u64, one: &str) -> String {
    words::count(usize::try_from(number).unwrap_or(usize::MAX), one)
}

/// A strict replay for people.
fn repeated(report: &StrictReport, flags: &str, style: Style) -> String {
    let spec = report.spec.as_ref().map_or_else(String::new, |spec| format!(" on {spec}"));
    let mut text = format!(
        "{} {}{spec}: {}, {} repeated\n",
        style.bold("run"),
        report.run,
        counted(report.executions, "execution"),
        counted(report.calls, "call")
    );
    let fuel = match report.fuel_compared {
        all if all == report.same => "fuel included",
        0 => "fuel left out: it was recorded by another engine",
        _ => "fuel included where this engine has recorded it",
    };
    text.push_str(&format!("  {} as recorded, {fuel}\n", style.green(&report.same.to_string())));
    list(&mut text, "as far as their record goes", &report.partly, Style::yellow, style);
    list(&mut text, "cannot be repeated", &report.not_repeatable, Style::red, style);
    list(&mut text, "not as recorded", &report.different, Style::red, style);
    if let Some(difference) = &report.first_difference {
        text.push_str(&sides::text(difference, style));
    }
    let verdict = if report.holds() {
        style.green("same: nothing differs from the record")
    } else if report.different.count > 0 {
        style.red("different")
    } else {
        style.red("not proven: some executions cannot be repeated")
    };
    text.push_str(&format!("{verdict}\n"));
    let more = [&report.partly, &report.not_repeatable, &report.different].iter().any(|l| l.first.len() > MAX_LISTED);
    if more {
        text.push_str(&format!("all of them: necro-host replay {} --json{flags}\n", report.run));
    }
    text
}

fn list(text: &mut String, heading: &str, listed: &Listed, paint: fn(Style, &str) -> String, style: Style) {
    if listed.count == 0 {
        return;
    }
    text.push_str(&format!("  {} {heading}\n", paint(style, &listed.count.to_string())));
    for named in listed.first.iter().take(MAX_LISTED) {
        let kind = named.kind.map_or("?", |kind| kind.as_str());
        let plugin = named.plugin.as_deref().unwrap_or("?");
        let attempt = named.attempt.as_ref().map_or_else(String::new, |attempt| format!(" of {attempt}"));
        let line = format!("{kind} {plugin}{attempt} ({}): {}", named.execution, named.reason);
        text.push_str(&format!("    {}\n", neutral::line(&line)));
    }
    let more = listed.count.saturating_sub(MAX_LISTED.min(listed.first.len()) as u64);
    if more > 0 {
        text.push_str(&format!("    … and {more} more\n"));
    }
}

/// What other policies would change, for people.
fn compared(comparison: &Comparison, style: Style, columns: Option<usize>) -> String {
    let mut text = String::new();
    let Comparison { tried, changed, more_changed, not_tried, .. } = comparison;
    if !changed.is_empty() {
        let mut table = Table::new(&["", "TIME", "KIND", "ATTEMPT", "RECORDED", "NEW", "WHY"]);
        changed.iter().for_each(|changed| table.row(row(changed)));
        text.push_str(&table.render(style, columns));
        if *more_changed > 0 {
            text.push_str(&format!("… and {more_changed} more\n"));
        }
        text.push('\n');
    }
    for tried in tried {
        let (what, verb) = if tried.kind == "review" { ("review", "read differently") } else { ("decision", "change") };
        text.push_str(&format!(
            "{} {}: {} of {} would {verb}{}{}\n",
            tried.kind,
            style.bold(&neutral::line(&tried.plugin)),
            tried.changed,
            counted(tried.decisions, what),
            if tried.estimates > 0 { format!(", {} of them estimated", tried.estimates) } else { String::new() },
            if tried.failed > 0 { format!("; it failed on {}", counted(tried.failed, "input")) } else { String::new() },
        ));
    }
    if changed.iter().any(|changed| changed.estimate) {
        text.push_str(
            "~ is an estimate: after the first change the run would have gone another way, and the recorded input \
             would have been another one\n",
        );
    }
    list(&mut text, "not tried: their records cannot be read", not_tried, Style::red, style);
    text
}

fn row(changed: &Changed) -> Vec<Cell> {
    let mark = if changed.estimate { Cell::painted("~", Style::yellow) } else { "".into() };
    let new: Cell = if changed.failed {
        Cell::painted(&format!("fails; {}", changed.new), Style::red)
    } else {
        changed.new.as_str().into()
    };
    vec![
        mark,
        words::clock(changed.at).into(),
        changed.kind.into(),
        changed.attempt.as_deref().unwrap_or("").into(),
        changed.recorded.as_str().into(),
        new,
        changed.reason.as_str().into(),
    ]
}

/// What was written of a moment, for people.
fn moment_words(written: &Written) -> String {
    let Written { attempt, call, calls, into, tree, tree_after_call, changes_redone, messages, notes, .. } = written;
    let from = match tree_after_call {
        0 => "the base of the attempt".to_owned(),
        call => format!("the tree after call {call}"),
    };
    let redone = match changes_redone {
        0 => String::new(),
        count => format!(", {} made again", counted(*count, "change")),
    };
    let into = open::quoted_path(into);
    let tree = id::short(tree);
    let mut text = format!(
        "{attempt} after call {call} of {calls}, in {into}\n  work/            {from} ({tree}){redone}\n  conversation.md  {}\n",
        words::count(*messages, "message"),
    );
    if *call > 0 {
        text.push_str(&format!("  call.json        call {call}, with its answer\n"));
    }
    for note in notes {
        text.push_str(&format!("  note: {}\n", neutral::line(note)));
    }
    text
}
