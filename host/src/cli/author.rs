//! `plugin new`, `build`, `check`, `test`, `dev` and `exec`: what people do who write plugins.

mod exec;

use std::path::PathBuf;
use std::process::ExitCode;

use super::args::{AuthorCommand, BuildArgs, CheckArgs, DevArgs, Kind, NewArgs, TestArgs};
use super::plugin::{Lines, said};
use super::report::WORK_FAILED;
use super::style::Style;
use super::{neutral, open, out, run, words};
use crate::plugin::PluginKind;
use crate::service::author::{self, Built, Checked, DevOptions, DevStep, NewProject};
use crate::service::{STATE_DIR_NAME, ServiceError};

/// Runs the command.
pub(crate) async fn run(command: AuthorCommand, style: Style, err: Style) -> Result<ExitCode, ServiceError> {
    match command {
        AuthorCommand::New(args) => new(args, style),
        AuthorCommand::Build(args) => build(args, style).await,
        AuthorCommand::Check(args) => check(args, style).await,
        AuthorCommand::Test(args) => test(args, style).await,
        AuthorCommand::Dev(args) => dev(args, style, err).await,
        AuthorCommand::Exec(args) => exec::run(args).await,
    }
}

impl From<Kind> for PluginKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Spirit => Self::Spirit,
            Kind::Routing => Self::Routing,
            Kind::Scheduling => Self::Scheduling,
            Kind::Review => Self::Review,
        }
    }
}

fn new(args: NewArgs, style: Style) -> Result<ExitCode, ServiceError> {
    let NewArgs { name, kind, lang, path, sdk, json } = args;
    let (kind, language, cwd) = (kind.into(), lang.into(), open::cwd()?);
    let shown = path.clone().unwrap_or_else(|| PathBuf::from(&name));
    let made = author::new(&NewProject { name, kind, language, path, sdk, cwd })?;
    if json {
        out::json(&made)?;
        return Ok(ExitCode::SUCCESS);
    }
    let own: Vec<&str> = made
        .files
        .iter()
        .map(String::as_str)
        .filter(|file| !file.starts_with("vendor/") && !file.starts_with("wit/"))
        .collect();
    out::print(&format!(
        "{} {} in {}: {}\nnext:  cd {} && necro-host plugin test\n",
        style.green("wrote"),
        style.bold(&made.name),
        made.folder.display(),
        own.join(", "),
        open::quoted(&shown.to_string_lossy()),
    ))?;
    Ok(ExitCode::SUCCESS)
}

async fn build(args: BuildArgs, style: Style) -> Result<ExitCode, ServiceError> {
    let built = author::build(&args.project).await?;
    if args.json {
        out::json(&built)?
    } else {
        out::print(&built_text(&built, style))?
    }
    Ok(ExitCode::SUCCESS)
}

fn built_text(built: &Built, style: Style) -> String {
    let Built { name, kind, component, size_bytes, digest, wants } = built;
    let mut text = format!(
        "{} {} ({kind}): {}, {}\nsha-256 {digest}\n",
        style.green("built"),
        style.bold(name),
        component.display(),
        words::size(*size_bytes)
    );
    if wants.is_empty() {
        text.push_str("wants   nothing\n");
    }
    for (interface, why) in wants {
        text.push_str(&format!("wants   {interface}: {}\n", neutral::line(why)));
    }
    text
}

async fn check(args: CheckArgs, style: Style) -> Result<ExitCode, ServiceError> {
    let checked = author::check(&args.path, run::cache_dir()).await?;
    if args.json {
        out::json(&checked)?
    } else {
        out::print(&checked_text(&checked, style))?
    }
    Ok(if checked.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(WORK_FAILED) })
}

fn checked_text(checked: &Checked, style: Style) -> String {
    let Checked { component, problems, name, kind, world, version, size_bytes, digest, imports, asks, .. } = checked;
    let mut lines = Lines::new(style);
    lines.one("file", &component.display().to_string());
    let version = version.as_deref().map(|version| format!(" {}", neutral::line(version))).unwrap_or_default();
    lines.one("name", &format!("{}{version}", style.bold(&neutral::line(name))));
    if let (Some(kind), Some(world)) = (kind, world) {
        lines.one("kind", &format!("{kind} (world {world}, necro:plugin@{})", checked.contract.unwrap_or_default()));
    }
    lines.one("size", &words::size(*size_bytes));
    if let Some(digest) = digest {
        lines.one("sha-256", digest.as_str());
    }
    lines.all("imports", imports.iter().map(|import| neutral::line(import)));
    if kind.is_some() && asks.is_empty() {
        lines.one("asks", "for nothing");
    }
    for (interface, ask) in asks {
        let mut words = format!("for {interface}");
        let scope = ask.scope.words();
        if !scope.is_empty() {
            words.push_str(&format!(" ({})", neutral::line(&scope)));
        }
        words.push_str(if ask.optional { ", if it may" } else { "" });
        words.push_str(&ask.why.as_deref().map(|why| format!(": {}", neutral::line(why))).unwrap_or_default());
        lines.one("asks", &words);
    }
    said(&checked.says).for_each(|said| lines.one("says", &said));
    let mut text = lines.text;
    for problem in problems {
        text.push_str(&format!("{} {}\n", style.red("problem"), neutral::block(problem)));
    }
    if problems.is_empty() {
        text.push_str(&format!("{} nothing is wrong with it\n", style.green("ok")));
    }
    text
}

async fn test(args: TestArgs, style: Style) -> Result<ExitCode, ServiceError> {
    let tested = author::test(&args.project).await?;
    if args.json {
        out::json(&tested)?;
    } else {
        let word = if tested.passed { style.green("passed") } else { style.red("failed") };
        let component = tested.component.display();
        out::print(&format!("{}{word} tests of {} over {component}\n", neutral::block(&tested.output), tested.name))?;
    }
    Ok(if tested.passed { ExitCode::SUCCESS } else { ExitCode::from(WORK_FAILED) })
}

async fn dev(args: DevArgs, style: Style, err: Style) -> Result<ExitCode, ServiceError> {
    let DevArgs { project: folder, state, once, json } = args;
    let state = state.unwrap_or_else(|| PathBuf::from(STATE_DIR_NAME));
    let options = DevOptions { folder, state, cache: run::cache_dir(), once };
    if !once {
        out::tell(&format!("{} builds on each save; Ctrl-C ends it", err.dim(&options.folder.display().to_string())));
    }
    let tell = |step: &DevStep| if json { out::json_line(step).map(drop) } else { out::print(&dev_text(step, style)) };
    tokio::select! {
        ended = author::dev(&options, tell) => {
            Ok(if ended?.is_good() { ExitCode::SUCCESS } else { ExitCode::from(WORK_FAILED) })
        }
        _ = tokio::signal::ctrl_c() => Ok(ExitCode::SUCCESS),
    }
}

fn dev_text(step: &DevStep, style: Style) -> String {
    let mut text = String::new();
    if let Some(built) = &step.built {
        let size = words::size(built.size_bytes);
        text.push_str(&format!("{} {} {size} {}\n", style.green("built"), built.name, built.digest));
    }
    for problem in &step.problems {
        text.push_str(&format!("{} {}\n", style.red("problem"), neutral::block(problem)));
    }
    if !step.text.is_empty() {
        text.push_str(&format!("{}\n", step.text));
    }
    text
}
