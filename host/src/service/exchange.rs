//! Task sets in the folders of the Python original: `tasksets/<spec>/taskset.json` with
//! `events/<spec>/events.jsonl` and the older parts of that, `events.jsonl.1` and so on, the oldest first.
//! Everything is read before anything is brought in, and written beside before anything is replaced.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::tz::Offset;
use serde::Serialize;
use serde_json::Value;

use super::blocking::blocking;
use super::error::ServiceError;
use super::records::existing_state;
use super::vault::{At, close, made, own, reader};
use crate::clock::Clock;
use crate::domain::exchange::{ImportedEvent, read_event, read_set};
use crate::domain::id::SpecName;
use crate::registry::{Exported, Imported, MAX_IMPORTED_EVENTS, Reader, SpecImport};

/// Largest `taskset.json`, in bytes.
const MAX_SET_BYTES: u64 = 256 * 1024 * 1024;
/// Longest line of an `events.jsonl`, in bytes.
const MAX_LINE_BYTES: u64 = 1024 * 1024;
/// Damaged lines that are listed; more are counted.
pub const MAX_DAMAGED: usize = 100;

/// Name of a task set's file.
const SET: &str = "taskset.json";
/// Name of the file of a task set's newest events.
const EVENTS: &str = "events.jsonl";

/// Why files were not brought in, or not written. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// There is nothing to be brought in.
    #[error("`{}` has no task sets: it has no `tasksets/<spec>/{SET}`", path.display())]
    Nothing {
        /// The folder.
        path: PathBuf,
    },
    /// A task set cannot be read.
    #[error("`{}` cannot be read: {reason}", path.display())]
    Set {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Lines of event files cannot be read.
    #[error("{} damaged, so nothing was imported: {}{}", counted(*lines), listed.join("; "), more(*lines, listed))]
    Damaged {
        /// How many.
        lines: u64,
        /// The first of them, with file and line.
        listed: Vec<String>,
    },
    /// There is a file already.
    #[error("`{}` exists already: name a new folder", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
}

fn counted(lines: u64) -> String {
    if lines == 1 { "1 line is".to_owned() } else { format!("{lines} lines are") }
}

fn more(lines: u64, listed: &[String]) -> String {
    match lines - listed.len() as u64 {
        0 => String::new(),
        more => format!("; and {more} more"),
    }
}

/// What was brought in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Import {
    /// Spec by spec.
    pub specs: Vec<Imported>,
    /// Lines that were left out, at most [`MAX_DAMAGED`] of them.
    pub damaged: Vec<String>,
    /// How many were left out in all.
    pub damaged_lines: u64,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Export {
    /// The folder.
    pub path: PathBuf,
    /// Spec by spec.
    pub specs: Vec<Exported>,
}

/// How to read what is brought in.
#[derive(Debug, Clone, Copy)]
pub struct ImportOptions {
    /// Leave out lines that are damaged.
    pub skip_damaged: bool,
    /// The clock's offset of times that have none.
    pub offset: Offset,
}

/// Brings the specs of `folder` in, or the one that is named: all of them or none.
///
/// # Errors
/// [`ExchangeError`], those of [`crate::registry::Registry::import`], and when somebody else owns the state
/// directory.
pub async fn import(
    at: At,
    folder: PathBuf,
    spec: Option<String>,
    options: ImportOptions,
    clock: Arc<dyn Clock>,
) -> Result<Import, ServiceError> {
    let (mut import, specs, state) = blocking(move || {
        let folder = at.cwd.join(folder);
        let mut import = Import::default();
        let mut specs = Vec::new();
        for spec in specs_in(&folder, spec)? {
            specs.push(read_spec(&folder, &spec, options.offset, &mut import)?);
        }
        if import.damaged_lines > 0 && !options.skip_damaged {
            return Err(ExchangeError::Damaged { lines: import.damaged_lines, listed: import.damaged }.into());
        }
        // Nothing is made for files that cannot be brought in.
        Ok((import, specs, made(&at)?))
    })
    .await?;
    let (owned, registry) = own(&state, clock).await?;
    let imported = registry.import(specs).await;
    close(owned, registry).await?;
    import.specs = imported?;
    Ok(import)
}

/// The specs that `folder` has, by name, or the one that is named.
fn specs_in(folder: &Path, named: Option<String>) -> Result<Vec<SpecName>, ServiceError> {
    let root = folder.join("tasksets");
    if let Some(named) = named {
        let spec = SpecName::new(named)?;
        let path = root.join(spec.as_str()).join(SET);
        let missing = || ExchangeError::Set { path: path.clone(), reason: "there is no such file".to_owned() };
        return if path.is_file() { Ok(vec![spec]) } else { Err(missing().into()) };
    }
    let nothing = || ExchangeError::Nothing { path: folder.to_owned() };
    let mut specs = Vec::new();
    for entry in fs::read_dir(&root).map_err(|_| nothing())? {
        let entry = entry.map_err(|source| ServiceError::Io { path: root.clone(), source })?;
        if entry.path().join(SET).is_file() {
            let name = entry.file_name();
            let spec = SpecName::new(name.to_string_lossy())
                .map_err(|error| ExchangeError::Set { path: entry.path(), reason: error.to_string() })?;
            specs.push(spec);
        }
    }
    specs.sort();
    if specs.is_empty() { Err(nothing().into()) } else { Ok(specs) }
}

fn read_spec(folder: &Path, spec: &SpecName, offset: Offset, import: &mut Import) -> Result<SpecImport, ServiceError> {
    let path = folder.join("tasksets").join(spec.as_str()).join(SET);
    let wrong = |reason: String| ExchangeError::Set { path: path.clone(), reason };
    let mut text = Vec::new();
    let file = open_file(&path).and_then(|file| file.take(MAX_SET_BYTES + 1).read_to_end(&mut text));
    file.map_err(|source| ServiceError::Io { path: path.clone(), source })?;
    if text.len() as u64 > MAX_SET_BYTES {
        return Err(wrong(format!("it has more than {MAX_SET_BYTES} bytes")).into());
    }
    let set = read_set(&text, offset).map_err(|error| wrong(error.to_string()))?;
    if set.spec != *spec {
        return Err(wrong(format!("it says that it is the spec `{}`", set.spec)).into());
    }
    let mut events = Vec::new();
    for path in parts(&folder.join("events").join(spec.as_str()))? {
        read_events(&path, spec, offset, &mut events, import)?;
    }
    Ok(SpecImport { set, events })
}

/// The files of events, the oldest first.
fn parts(folder: &Path) -> Result<Vec<PathBuf>, ServiceError> {
    let mut older = Vec::new();
    let mut newest = None;
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|source| ServiceError::Io { path: folder.to_owned(), source })?,
    };
    for entry in entries {
        let entry = entry.map_err(|source| ServiceError::Io { path: folder.to_owned(), source })?;
        let name = entry.file_name();
        match name.to_str().and_then(|name| name.strip_prefix(EVENTS)) {
            Some("") => newest = Some(entry.path()),
            Some(rest) => {
                older.extend(rest.strip_prefix('.').and_then(|n| n.parse::<u32>().ok()).map(|n| (n, entry.path())))
            }
            None => {}
        }
    }
    older.sort();
    Ok(older.into_iter().map(|(_, path)| path).chain(newest).collect())
}

/// Opens a file, and nothing that has no end or waits for a writer.
fn open_file(path: &Path) -> std::io::Result<File> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    File::open(path)
}

/// Reads a file of events, line by line. Lines that cannot be read are noted.
fn read_events(
    path: &Path,
    spec: &SpecName,
    offset: Offset,
    events: &mut Vec<ImportedEvent>,
    import: &mut Import,
) -> Result<(), ServiceError> {
    let failed = |source| ServiceError::Io { path: path.to_owned(), source };
    let mut file = BufReader::new(open_file(path).map_err(failed)?);
    let mut number = 0_u64;
    loop {
        let mut line = Vec::new();
        let read = (&mut file).take(MAX_LINE_BYTES + 1).read_until(b'\n', &mut line).map_err(failed)?;
        if read == 0 {
            return Ok(());
        }
        number += 1;
        let found = if line.len() as u64 > MAX_LINE_BYTES && line.last() != Some(&b'\n') {
            skip_line(&mut file).map_err(failed)?;
            Err(format!("it has more than {MAX_LINE_BYTES} bytes"))
        } else if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        } else {
            read_event(&line, offset).map_err(|error| error.to_string()).and_then(|event| about(event, spec))
        };
        match found {
            Ok(event) if events.len() <= MAX_IMPORTED_EVENTS => events.push(event),
            // One too many is enough to be refused.
            Ok(_) => return Ok(()),
            Err(reason) => {
                import.damaged_lines += 1;
                if import.damaged.len() < MAX_DAMAGED {
                    import.damaged.push(format!("{}:{number}: {reason}", path.display()));
                }
            }
        }
    }
}

/// The event, if it is one of the spec in whose folder it stands.
fn about(event: ImportedEvent, spec: &SpecName) -> Result<ImportedEvent, String> {
    match event.line.get("spec_name").and_then(Value::as_str) {
        Some(named) if named == spec.as_str() => Ok(event),
        Some(named) => Err(format!("it is about the spec `{}`", named.chars().take(100).collect::<String>())),
        None => Err("spec_name: it is missing, or no text".to_owned()),
    }
}

/// Reads on to the end of a line without keeping it.
fn skip_line(file: &mut impl io::BufRead) -> io::Result<()> {
    loop {
        let (used, ended) = {
            let bytes = file.fill_buf()?;
            match bytes.iter().position(|byte| *byte == b'\n') {
                Some(end) => (end + 1, true),
                None => (bytes.len(), bytes.is_empty()),
            }
        };
        file.consume(used);
        if ended {
            return Ok(());
        }
    }
}

/// Writes the specs of a registry, or the one that is named, into `folder`. Works while a run goes on.
///
/// # Errors
/// [`ExchangeError::Exists`] before anything is written; when there is no such spec.
pub async fn export(at: At, folder: PathBuf, spec: Option<String>) -> Result<Export, ServiceError> {
    blocking(move || {
        let state = existing_state(&at.repository, &at.cwd, at.state.as_deref())?;
        let reader = reader(&state)?;
        let known = reader.specs()?;
        let specs = match spec {
            None => known,
            Some(named) => match known.iter().find(|spec| spec.as_str() == named) {
                Some(spec) => vec![spec.clone()],
                None => {
                    let known: Vec<&str> = known.iter().map(SpecName::as_str).collect();
                    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                    let text = format!("there is no spec `{named}` in the registry; there are: {known}");
                    return Err(ServiceError::Usage(text));
                }
            },
        };
        let folder = at.cwd.join(folder);
        for spec in &specs {
            let (set, events) = places(&folder, spec);
            let first = [set].into_iter().chain(parts(events.parent().unwrap_or(&folder))?).find(|path| path.exists());
            if let Some(path) = first {
                return Err(ExchangeError::Exists { path }.into());
            }
        }
        let specs = specs.iter().map(|spec| write_spec(&reader, &folder, spec)).collect::<Result<_, _>>()?;
        Ok(Export { path: folder, specs })
    })
    .await
}

/// Where a spec's tasks and events go.
fn places(folder: &Path, spec: &SpecName) -> (PathBuf, PathBuf) {
    let of = |kind: &str, name: &str| folder.join(kind).join(spec.as_str()).join(name);
    (of("tasksets", SET), of("events", EVENTS))
}

fn write_spec(reader: &Reader, folder: &Path, spec: &SpecName) -> Result<Exported, ServiceError> {
    let (set_path, events_path) = places(folder, spec);
    let mut events = begin(&events_path)?;
    let failed = |source| ServiceError::Io { path: events_path.clone(), source };
    let exported = {
        let mut out = BufWriter::new(events.as_file_mut());
        let exported = reader.export(spec, |line| {
            let written = serde_json::to_writer(&mut out, &line).map_err(io::Error::from);
            written.and_then(|()| out.write_all(b"\n")).map_err(failed)
        })?;
        out.flush().map_err(failed)?;
        exported
    };
    let gone = || ServiceError::Internal(format!("the spec {spec} has no tasks any more"));
    let (report, set) = exported.ok_or_else(gone)?;
    let mut file = begin(&set_path)?;
    let written = serde_json::to_writer_pretty(file.as_file_mut(), &set).map_err(io::Error::from);
    written
        .and_then(|()| file.as_file_mut().write_all(b"\n"))
        .map_err(|source| ServiceError::Io { path: set_path.clone(), source })?;
    // The set last: where it stands, all of it does.
    persist(events, &events_path)?;
    persist(file, &set_path)?;
    Ok(report)
}

/// A file beside the place where it will stand.
fn begin(path: &Path) -> Result<tempfile::NamedTempFile, ServiceError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let made = fs::create_dir_all(folder).and_then(|()| tempfile::NamedTempFile::new_in(folder));
    made.map_err(|source| ServiceError::Io { path: folder.to_owned(), source })
}

fn persist(file: tempfile::NamedTempFile, path: &Path) -> Result<(), ServiceError> {
    let failed = |source| ServiceError::Io { path: path.to_owned(), source };
    file.as_file().sync_all().map_err(failed)?;
    match file.persist_noclobber(path) {
        Ok(_) => {}
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(ExchangeError::Exists { path: path.to_owned() }.into());
        }
        Err(error) => return Err(failed(error.error)),
    }
    File::open(path.parent().unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all()).map_err(failed)
}
