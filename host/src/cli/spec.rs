//! `spec check` and `spec tick`: Kiro specs on disk, without a run.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::report::WORK_FAILED;
use super::style::Style;
use super::{neutral, open, out, words};
use crate::domain::id::TaskId;
use crate::service::{ServiceError, root_of};
use crate::spec::folder::{self, SpecFiles};
use crate::spec::replace::{EditError, Outcome, edit};
use crate::spec::report::{SpecReport, report};
use crate::spec::{Rules, Severity, TaskFile, TickError, TickState, tick as change};

/// The file that is ticked.
const TASKS: &str = "tasks.md";

/// A checked spec and where it lies.
struct Checked {
    folder: PathBuf,
    report: SpecReport,
}

/// Runs `spec check`.
pub(crate) async fn check(
    path: Option<PathBuf>,
    strict: bool,
    json: bool,
    style: Style,
) -> Result<ExitCode, ServiceError> {
    let rules = if strict { Rules::own(None) } else { Rules::foreign() };
    // A repository without specs has nothing that could be wrong; a slip in a path has.
    let (path, may_lack) = match path {
        Some(path) => (path, false),
        None => (own_specs(&open::cwd()?)?, true),
    };
    let shown = path.display().to_string();
    let checked =
        open::blocking(move || if may_lack && !path.exists() { Ok(Vec::new()) } else { check_all(&path, rules) });
    let checked = checked.await?;
    if json {
        out::json(&checked.iter().map(|checked| &checked.report).collect::<Vec<_>>())?;
    } else if checked.is_empty() {
        out::print(&format!("there are no specs in {}: nothing to check\n", neutral::line(&shown)))?;
    } else {
        out::print(&checked.iter().map(|checked| text(checked, style)).collect::<String>())?;
    }
    let failed = checked.iter().any(|checked| checked.report.has_errors());
    Ok(if failed { ExitCode::from(WORK_FAILED) } else { ExitCode::SUCCESS })
}

/// Where the specs of the repository around `cwd` are, in the fewest words.
fn own_specs(cwd: &Path) -> Result<PathBuf, ServiceError> {
    let root = root_of(Path::new("."), cwd)?;
    let here = cwd.canonicalize().is_ok_and(|cwd| cwd == root) || root == cwd;
    Ok(if here { PathBuf::from(folder::SPECS) } else { root.join(folder::SPECS) })
}

fn check_all(path: &Path, rules: Rules<'static>) -> Result<Vec<Checked>, ServiceError> {
    let folders = specs_at(path)?;
    folders
        .into_iter()
        .map(|(name, folder)| {
            let files = folder::load_from(&folder, &name).map_err(|source| fail(&folder, source))?;
            Ok(Checked { report: report(&files, rules), folder })
        })
        .collect()
}

/// Names and folders of the specs that a path means.
fn specs_at(path: &Path) -> Result<Vec<(String, PathBuf)>, ServiceError> {
    if path.is_file() {
        let known = path.file_name().is_some_and(|name| folder::DOCUMENTS.iter().any(|document| *document == name));
        if !known {
            return Err(ServiceError::Usage(format!(
                "`{}` is no file of a spec; those are {}",
                path.display(),
                folder::DOCUMENTS.join(", ")
            )));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        return Ok(vec![(name_of(folder), folder.to_owned())]);
    }
    if !path.is_dir() {
        return Err(ServiceError::Usage(format!("there is no `{}`", path.display())));
    }
    let own = folder::load_from(path, &name_of(path)).map_err(|source| fail(path, source))?;
    if SpecFiles::exists(&own) {
        return Ok(vec![(own.name, path.to_owned())]);
    }
    // A repository's root means the specs in it.
    let inside = path.join(folder::SPECS);
    let base = if inside.is_dir() { inside } else { path.to_owned() };
    let names = folder::discover_in(&base).map_err(|source| fail(&base, source))?;
    Ok(names.into_iter().map(|name| (name.clone(), base.join(&name))).collect())
}

/// A spec is named by its path below `.kiro/specs`, elsewhere by its folder alone.
fn name_of(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let text = folder.to_string_lossy().replace('\\', "/");
    match text.rsplit_once(&format!("/{}/", folder::SPECS)) {
        Some((_, name)) => name.to_owned(),
        None => folder.file_name().map_or_else(|| "spec".to_owned(), |name| name.to_string_lossy().into_owned()),
    }
}

fn fail(path: &Path, source: std::io::Error) -> ServiceError {
    ServiceError::Io { path: path.to_owned(), source }
}

fn text(checked: &Checked, style: Style) -> String {
    let Checked { folder, report } = checked;
    let mut text = String::new();
    for found in &report.diagnostics {
        let diagnostic = &found.diagnostic;
        let severity = match diagnostic.severity {
            Severity::Error => style.red("error"),
            Severity::Warning => style.yellow("warning"),
            Severity::Note => style.dim("note"),
        };
        let file = folder.join(&found.file).display().to_string();
        let message = neutral::line(&diagnostic.message);
        text.push_str(&format!(
            "{}:{}: {severity}: {message} {}\n",
            neutral::line(&file),
            diagnostic.line,
            style.dim(&format!("[{}]", diagnostic.code))
        ));
    }
    let tasks = report.tasks.iter().filter(|task| !task.container).count();
    let boxes = &report.boxes;
    let [errors, warnings] = [Severity::Error, Severity::Warning].map(|severity| report.count(severity));
    let verdict = match (errors, warnings) {
        (0, 0) => style.green("nothing wrong"),
        (0, warnings) => style.yellow(&words::count(warnings, "warning")),
        (errors, 0) => style.red(&words::count(errors, "error")),
        (errors, warnings) => {
            style.red(&format!("{}, {}", words::count(errors, "error"), words::count(warnings, "warning")))
        }
    };
    let phase = report.cc_sdd.as_ref().and_then(|sdd| sdd.phase.as_deref());
    let phase = phase.map(|phase| format!(", phase: {}", neutral::line(phase))).unwrap_or_default();
    text.push_str(&format!(
        "{}: {}, {} of {} boxes ticked, order: {}{phase}; {verdict}\n",
        style.bold(&neutral::line(&report.spec)),
        words::count(tasks, "task"),
        boxes.done,
        boxes.open + boxes.done + boxes.in_progress + boxes.queued + boxes.other,
        report.mode,
    ));
    text
}

/// Runs `spec tick`.
pub(crate) async fn tick(path: PathBuf, task: String, undo: bool) -> Result<(), ServiceError> {
    let task = TaskId::new(task)?;
    let text = open::blocking(move || tick_file(&path, &task, undo)).await?;
    out::print(&text)
}

fn tick_file(path: &Path, task: &TaskId, undo: bool) -> Result<String, ServiceError> {
    let path = if path.is_dir() { path.join(TASKS) } else { path.to_owned() };
    if !path.is_file() {
        return Err(ServiceError::Usage(format!("there is no `{}`", path.display())));
    }
    let to = if undo { TickState::Open } else { TickState::Done };
    let mut before = Vec::new();
    let edited = edit(&path, |bytes| {
        before = bytes.to_owned();
        match change(bytes, task, to) {
            Ok(after) => Ok(Some(after)),
            Err(TickError::Already { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    });
    let shown = neutral::line(&path.display().to_string());
    let after = match edited {
        Ok(Outcome { written: true, bytes }) => bytes,
        Ok(Outcome { written: false, .. }) => {
            let how = if undo { "open" } else { "ticked" };
            return Ok(format!("{task} is {how} already in {shown}; nothing was changed\n"));
        }
        Err(EditError::Change(error @ TickError::Unknown { .. })) => {
            let known = TaskFile::read(&before).items.into_iter().map(|item| item.id);
            return Err(ServiceError::Usage(format!("{error}; there are: {}", words::listing(known))));
        }
        Err(EditError::Change(error)) => return Err(ServiceError::Usage(error.to_string())),
        Err(EditError::Io { path, source }) => return Err(fail(&path, source)),
        Err(error) => return Err(fail(&path, std::io::Error::other(error.to_string()))),
    };
    let states = |bytes: &[u8]| TaskFile::read(bytes).items.into_iter().map(|item| (item.id, item.state));
    let changed: Vec<String> = states(&before)
        .zip(states(&after))
        .filter(|(old, new)| old != new)
        .map(|(_, (id, _))| id.to_string())
        .collect();
    let how = if undo { "cleared" } else { "ticked" };
    Ok(format!("{how} {} in {shown}\n", changed.join(", ")))
}
