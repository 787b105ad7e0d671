//! `run` and `plan`: gathers the options, listens for interrupts, shows progress, sums up.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use tokio::sync::watch;

use super::args::{Language, ResumeArgs, RunArgs};
use super::display::Display;
use super::report::{self, INTERRUPTED, WORK_FAILED};
use super::style::Style;
use super::{args, neutral, open, out, words as common};
use crate::clock::SystemClock;
use crate::domain::id::{RunId, SpecName};
use crate::llm::config::LlmChoice;
use crate::service::replay::{self, ReplayOptions};
use crate::service::{self, EndedRun, Extent, Goal, Going, RunOptions, RunSummary, ServiceError, demo};
use crate::workspace::fetch_command;

/// A job has at most this many bytes.
const MAX_JOB_BYTES: u64 = 1 << 20;

/// Runs `run` or `plan`.
pub(crate) async fn run(args: RunArgs, extent: Extent, style: Style, err: Style) -> Result<ExitCode, ServiceError> {
    let shown = Shown { json: args.json, fixtures: args.record_fixtures.clone() };
    let (options, place) = options(args, extent)?;
    drive(options, &place, shown, style, err).await
}

/// Runs `resume`.
pub(crate) async fn resume(args: ResumeArgs, style: Style, err: Style) -> Result<ExitCode, ServiceError> {
    let named = args.run.as_deref().map(RunId::new).transpose()?;
    let run = open::read(&args.place, move |records| service::openable(records.reader.runs()?, named.as_ref())).await?;
    let asked = run.options.unwrap_or_default();
    let spec = run.spec.ok_or_else(|| ServiceError::Internal(format!("run {} has no spec", run.id)))?;
    let options = RunOptions {
        goal: Goal::Spec(spec),
        extent: if asked.plan_only { Extent::Plan } else { Extent::Run },
        repository: args.place.repo,
        cwd: open::cwd()?,
        state: args.place.state,
        cache: cache_dir(),
        base: Some(run.base_branch),
        llm: llm(args.llm.as_deref().or(asked.llm.as_deref()))?,
        base_url: args.base_url.or(asked.base_url),
        max_parallel: args.max_parallel.or(asked.max_parallel),
        lock_root: None,
        plugins: args.plugin.iter().map(|text| text.parse()).collect::<Result<Vec<_>, _>>()?,
        max_changed: args.max_changed,
        // It works from its own branch: what the checkout has meanwhile does not matter.
        allow_dirty: true,
        going: Going::On(run.id),
        env: environment(),
    };
    let place = Place::of(&options);
    drive(options, &place, Shown { json: args.json, fixtures: args.record_fixtures }, style, err).await
}

/// What is left of a run besides its branch.
struct Shown {
    json: bool,
    /// Where its executions are written.
    fixtures: Option<PathBuf>,
}

/// Runs it, shows how it goes, and sums up.
async fn drive(
    options: RunOptions,
    place: &Place,
    Shown { json, fixtures }: Shown,
    style: Style,
    err: Style,
) -> Result<ExitCode, ServiceError> {
    if let Some(folder) = &fixtures {
        replay::prepare_fixtures(folder)?;
    }
    let display = Arc::new(Display::new(err, !json && std::io::stderr().is_terminal()));
    let (ask, asked) = watch::channel(false);
    let listening = tokio::spawn(interrupts(ask));
    let result = service::run(options, Arc::new(SystemClock::default()), display.clone(), asked).await;
    listening.abort();
    display.clear();
    let EndedRun { mut summary, trouble } = result?;
    if let Some(folder) = fixtures {
        record(&summary, folder).await?;
    }
    if json {
        out::json_line(&summary)?;
    } else {
        if trouble.is_some() {
            // It is said below, with what to do about it.
            summary.problems.clear();
        }
        out::print(&words(&summary, place, style))?;
    }
    if let Some(trouble) = trouble {
        return Ok(report::report(&trouble, err));
    }
    Ok(match summary.outcome.as_str() {
        // Something is left to do: `run.land` was asked for, and the branch could not be landed.
        "done" if !summary.problems.is_empty() => ExitCode::from(WORK_FAILED),
        "done" | "planned" => ExitCode::SUCCESS,
        "interrupted" => ExitCode::from(INTERRUPTED),
        _ => ExitCode::from(WORK_FAILED),
    })
}

/// Writes the run's executions as fixtures, and says so.
async fn record(summary: &RunSummary, folder: PathBuf) -> Result<(), ServiceError> {
    let options = ReplayOptions {
        repository: summary.repository.clone(),
        cwd: open::cwd()?,
        state: Some(summary.state.clone()),
        run: Some(summary.run.clone()),
        ..ReplayOptions::default()
    };
    let written = replay::write_fixtures(options, folder).await?;
    let left_out = match written.left_out {
        0 => String::new(),
        count => format!("; {count} left out: too many, too large or without an end"),
    };
    out::tell(&format!("{} fixtures in {}{left_out}", written.written, written.folder.display()));
    Ok(())
}

/// First interrupt: stop in order. Second: at once; what is durable stays.
async fn interrupts(ask: watch::Sender<bool>) {
    let mut asked_before = false;
    loop {
        if wait_for_signal().await.is_err() {
            return;
        }
        if asked_before {
            std::process::exit(i32::from(INTERRUPTED));
        }
        asked_before = true;
        ask.send_replace(true);
    }
}

#[cfg(unix)]
async fn wait_for_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    // The terminal was closed.
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
        _ = hangup.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn wait_for_signal() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}

/// How to name repository and state directory in the commands that are shown at the end.
struct Place {
    flags: String,
    git: String,
}

impl Place {
    fn of(options: &RunOptions) -> Self {
        let (repo, state) = (options.repository.clone(), options.state.clone());
        Self { git: open::git(&repo), flags: open::flags(&args::Place { repo, state }) }
    }
}

fn options(args: RunArgs, extent: Extent) -> Result<(RunOptions, Place), ServiceError> {
    let cwd = open::cwd()?;
    let plugins = args.plugin.iter().map(|text| text.parse()).collect::<Result<Vec<_>, _>>()?;
    let llm = llm(args.llm.as_deref())?;
    let mut options = RunOptions {
        goal: Goal::Job(String::new()),
        extent,
        repository: args.place.repo,
        cwd,
        state: args.place.state,
        cache: cache_dir(),
        base: args.base,
        llm,
        base_url: args.base_url,
        max_parallel: args.max_parallel,
        lock_root: None,
        plugins,
        max_changed: args.max_changed,
        allow_dirty: args.allow_dirty,
        going: if args.fresh { Going::Anew } else { Going::OnIfOpen },
        env: environment(),
    };
    if args.demo {
        let language = if args.lang == Language::Ja { "ja" } else { "en" };
        let made = demo::make(language)?;
        options.goal = Goal::Job(made.job);
        options.repository = made.repository.display().to_string();
        // The repository is made for this run alone; what the operator decided stands where the command is typed.
        options.lock_root = Some(service::root_of(Path::new("."), &options.cwd)?);
        options.llm.get_or_insert(LlmChoice::Scripted(made.replies));
        let place = Place::of(&options);
        return Ok((options, place));
    }
    options.goal = match (args.spec, args.job) {
        (Some(spec), _) => Goal::Spec(SpecName::new(spec)?),
        (None, Some(path)) => Goal::Job(job(&path)?),
        (None, None) => {
            return Err(ServiceError::Usage(
                "nothing to work on: name a job file (or `-` for standard input), a spec with --spec, or try --demo"
                    .to_owned(),
            ));
        }
    };
    let place = Place::of(&options);
    Ok((options, place))
}

/// Reads a job: UTF-8, not empty, bounded.
fn job(path: &Path) -> Result<String, ServiceError> {
    let shown = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    let fail = |source| ServiceError::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let read: Box<dyn std::io::Read> = if path == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        match std::fs::File::open(path) {
            Ok(file) => Box::new(file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(ServiceError::Usage(format!("there is no job file `{shown}`")));
            }
            Err(error) => return Err(fail(error)),
        }
    };
    match read.take(MAX_JOB_BYTES + 1).read_to_end(&mut bytes) {
        Err(error) if error.kind() == std::io::ErrorKind::IsADirectory => {
            return Err(ServiceError::Usage(format!("the job {shown} is a directory: name a text file in it")));
        }
        read => read.map_err(fail)?,
    };
    if bytes.len() as u64 > MAX_JOB_BYTES {
        return Err(ServiceError::Usage(format!("the job in {shown} has more than {MAX_JOB_BYTES} bytes (1 MiB)")));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        ServiceError::Usage(format!("the job in {shown} is not UTF-8 text: byte {at} does not fit"))
    })?;
    // Editors on Windows put a byte order mark before the text.
    let text = match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    };
    if text.trim().is_empty() {
        return Err(ServiceError::Usage(format!("the job in {shown} is empty: write what should be built")));
    }
    Ok(text)
}

/// The model that `--llm` names.
pub(crate) fn llm(text: Option<&str>) -> Result<Option<LlmChoice>, ServiceError> {
    let choice = text.map(str::parse::<LlmChoice>).transpose();
    choice.map_err(|error| ServiceError::Usage(error.to_string()))
}

/// The environment, as far as it is text.
pub(crate) fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Compiled components are the user's, not the repository's.
pub(crate) fn cache_dir() -> Option<PathBuf> {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from("NECRO_CACHE")
        .or_else(|| from("XDG_CACHE_HOME").map(|dir| dir.join("necro-host")))
        .or_else(|| from("HOME").map(|dir| dir.join(".cache").join("necro-host")))
}

/// The end of a run for people: what was done, what it cost, where it is, how to get it.
fn words(summary: &RunSummary, place: &Place, style: Style) -> String {
    let RunSummary { tasks, cost, .. } = summary;
    let headline = match summary.outcome.as_str() {
        "done" => style.green("done"),
        "planned" => style.green("planned"),
        "interrupted" => style.yellow("interrupted"),
        other => style.red(other),
    };
    let mut text = format!(
        "\n{headline}: {} of {} tasks merged, {} failed; {}, {}\n",
        tasks.done,
        tasks.total,
        tasks.failed,
        common::count(summary.attempts, "attempt"),
        common::count(summary.findings, "finding")
    );
    let scripted = if summary.scripted { " (replies were scripted: no model was asked)" } else { "" };
    text.push_str(&format!("cost:   {}{scripted}\n", common::cost(cost)));
    if summary.sandbox == "off" {
        text.push_str("sandbox: off (commands ran with your rights)\n");
    }
    for problem in &summary.problems {
        text.push_str(&format!("  {} {}\n", style.red("·"), neutral::line(problem)));
    }
    text.push_str(&format!(
        "branch: {} at {}, kept in {}\n",
        summary.branch,
        summary.commit.short(),
        summary.state.display()
    ));
    let flags = &place.flags;
    text.push_str(&format!(
        "look:   necro-host status{flags}   ·   necro-host tasks{flags}   ·   necro-host show <task>{flags}\n"
    ));
    match summary.outcome.as_str() {
        "interrupted" => text.push_str(&format!("go on:  necro-host resume{flags}\n")),
        "planned" => text.push_str("go on:  `necro-host run` with the same job\n"),
        _ => {}
    }
    text.push_str(&format!("get it: {}\n", way_to_get(summary, place)));
    text
}

/// The command that brings the branch to the user, and shows it.
fn way_to_get(summary: &RunSummary, place: &Place) -> String {
    let (branch, flags) = (&summary.branch, &place.flags);
    if !summary.local {
        return format!("{}   (in a clone of {})", fetch_command(&summary.mirror, branch), summary.repository);
    }
    let look = format!("{} log --graph --oneline {branch}", place.git);
    if summary.landed { look } else { format!("necro-host land {}{flags} && {look}", summary.spec) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::call::Cost;
    use crate::domain::id::{CommitId, RunId};
    use crate::service::TaskCounts;

    #[test]
    fn the_command_at_the_end_is_one_that_works() {
        let mut summary = RunSummary {
            run: RunId::new("run-1").unwrap(),
            spec: SpecName::new("x").unwrap(),
            outcome: "done".into(),
            branch: "necro/x".into(),
            commit: CommitId::new("a".repeat(40)).unwrap(),
            tree: "b".repeat(40),
            tasks: TaskCounts::default(),
            attempts: 1,
            findings: 0,
            cost: Cost::default(),
            scripted: false,
            sandbox: "on",
            problems: Vec::new(),
            landed: false,
            state: "/s".into(),
            repository: "https://h/r.git".into(),
            mirror: "/s/repos/it's/mirror.git".into(),
            local: true,
        };
        let place = Place { flags: " --state /s".into(), git: open::git(".") };
        let shown = |summary: &RunSummary| way_to_get(summary, &place);
        assert!(shown(&summary).starts_with("necro-host land x --state /s && git log"));
        summary.landed = true;
        assert!(shown(&summary).starts_with("git log"));
        let elsewhere = Place { flags: String::new(), git: open::git("a b") };
        assert!(way_to_get(&summary, &elsewhere).starts_with("git -C 'a b' log"));
        (summary.landed, summary.local) = (false, false);
        let fetch = r"git fetch '/s/repos/it'\''s/mirror.git' necro/x:necro/x   (in a clone of https://h/r.git)";
        assert_eq!(shown(&summary), fetch);
    }
}
