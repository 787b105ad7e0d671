//! Reads real spec files. This repository's own must have no finding. Of those in `../shared/corpus`
//! beside the repository counts, bytes and edits must come out as they stand there; these tests skip,
//! and say so, where the folder is absent.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use necro_host::domain::id::TaskId;
use necro_host::spec::folder::{self, SpecFiles};
use necro_host::spec::report::report;
use necro_host::spec::tasks::{BoxState, TaskFile};
use necro_host::spec::tick::{Star, TickError, TickState, tick_with};
use necro_host::spec::{Rules, plan};

fn corpus(test: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    if path.join("kiro/INDEX.tsv").is_file() {
        return Some(path);
    }
    eprintln!("SKIPPED corpus::{test}: {} is absent", path.display());
    None
}

struct Row {
    folder: PathBuf,
    counts: HashMap<String, usize>,
}

fn index(corpus: &Path) -> Vec<Row> {
    let text = fs::read_to_string(corpus.join("kiro/INDEX.tsv")).expect("the index can be read");
    let mut lines = text.lines();
    let head: Vec<&str> = lines.next().expect("the index has a head").split('\t').collect();
    lines
        .map(|line| {
            let cells: Vec<&str> = line.split('\t').collect();
            let folder = corpus.join("kiro").join(cells[0].replace('/', "__")).join(cells[1]);
            let numbers =
                head.iter().zip(&cells).filter_map(|(key, cell)| Some(((*key).to_owned(), cell.parse().ok()?)));
            Row { folder, counts: numbers.collect() }
        })
        .collect()
}

/// Roles of the built-in spirits.
const ROLES: &[&str] =
    &["architect", "scrum_master", "frontend", "backend", "database", "qa", "devops", "documentation"];

#[test]
fn this_repositorys_own_specs_have_no_finding() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let specs = folder::discover(&root).unwrap();
    assert!(specs.contains(&"foundation".to_owned()), "{specs:?}");
    for spec in specs {
        let files = folder::load(&root, &spec).unwrap();
        assert!(files.requirements.is_some() && files.design.is_some(), "{spec} is not complete");
        let report = report(&files, Rules::own(Some(ROLES)));
        assert_eq!(report.diagnostics, [], "{spec}");
        assert!(!report.tasks.is_empty());
    }
}

#[test]
fn check_boxes_are_counted_as_in_the_index() {
    let Some(corpus) = corpus("check_boxes_are_counted_as_in_the_index") else { return };
    let rows = index(&corpus);
    assert!(!rows.is_empty());
    for row in rows {
        let boxes = TaskFile::read(&fs::read(row.folder.join("tasks.md")).unwrap()).boxes;
        for (column, found) in [
            ("open[ ]", boxes.open),
            ("done[x]", boxes.done),
            ("inprog[-]", boxes.in_progress),
            ("queued[~]", boxes.queued),
            ("other", boxes.other),
            ("optional_open*", boxes.optional_open),
            ("optional_done*", boxes.optional_other),
            ("fenced_checkboxes", boxes.fenced),
            ("kiro_lint_bad_lines", boxes.rejected_by_kiro),
        ] {
            assert_eq!(Some(&found), row.counts.get(column), "{column} of {}", row.folder.display());
        }
    }
}

/// Ticking a task and setting it back is what writes a file; every other byte must be as it was.
#[test]
fn files_are_byte_identical_when_written_back() {
    let Some(corpus) = corpus("files_are_byte_identical_when_written_back") else { return };
    let mut written = 0;
    for row in index(&corpus) {
        let bytes = fs::read(row.folder.join("tasks.md")).unwrap();
        assert_eq!(necro_host::spec::tasks::reassemble(&bytes).unwrap(), bytes, "{}", row.folder.display());
        for item in TaskFile::read(&bytes).items {
            let (to, back) = match item.state {
                BoxState::Open => (TickState::InProgress, TickState::Open),
                BoxState::Done => (TickState::Open, TickState::Done),
                BoxState::InProgress => (TickState::Open, TickState::InProgress),
                BoxState::Queued | BoxState::Unknown => continue,
            };
            let changed = match tick_with(&bytes, &item.id, to, Star::Keep) {
                Ok(changed) => changed,
                Err(TickError::Ambiguous { .. }) => continue,
                Err(error) => panic!("{}: {error}", row.folder.display()),
            };
            let differing = bytes.iter().zip(&changed).filter(|(a, b)| a != b).count();
            assert_eq!((bytes.len(), differing), (changed.len(), 1), "{} {}", row.folder.display(), item.id);
            // A parent that stood open beside its done parts is ticked along; that is no round trip.
            let again = tick_with(&changed, &item.id, back, Star::Keep).unwrap();
            if again.iter().zip(&bytes).filter(|(a, b)| a != b).count() == 0 {
                written += 1;
            } else {
                assert_eq!(back, TickState::Done, "{} {}", row.folder.display(), item.id);
            }
        }
    }
    assert!(written > 1_000, "only {written} ticks were written and taken back");
}

#[test]
fn every_file_gives_tasks_that_can_be_ordered() {
    let Some(corpus) = corpus("every_file_gives_tasks_that_can_be_ordered") else { return };
    for row in index(&corpus) {
        let folder = row.folder.clone();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let files = SpecFiles::read(&name, |path| fs::read(folder.join(path.rsplit('/').next().unwrap())).ok());
        let report = report(&files, Rules::foreign());
        let plan = plan(&files.tasks.as_ref().unwrap().bytes);
        assert_eq!(report.tasks.len(), plan.tasks.len());
        let known: Vec<&TaskId> = plan.tasks.iter().map(|task| &task.id).collect();
        for task in &plan.tasks {
            assert!(task.depends.iter().all(|on| known.contains(&on) && *on != task.id), "{name} {}", task.id);
        }
        for found in report.diagnostics.iter().filter(|d| d.diagnostic.is_error()) {
            eprintln!("{name}/{}:{}: {}", found.file, found.diagnostic.line, found.diagnostic.message);
        }
    }
}

/// A line without its state and star, when it is a task line.
fn masked(line: &str) -> String {
    let Some(open) = line.find("- [").filter(|at| line[..*at].trim().is_empty()) else { return line.to_owned() };
    let Some((_, rest)) = line[open + 3..].split_once(']') else { return line.to_owned() };
    format!("{}- [{}", &line[..open], rest.trim_start_matches('\\').trim_start_matches('*'))
}

fn target(state: BoxState) -> TickState {
    match state {
        BoxState::Open => TickState::Open,
        BoxState::InProgress => TickState::InProgress,
        BoxState::Done => TickState::Done,
        other => panic!("no tick gives {other:?}"),
    }
}

#[test]
fn edits_of_check_boxes_alone_are_reproduced_by_ticks() {
    let Some(corpus) = corpus("edits_of_check_boxes_alone_are_reproduced_by_ticks") else { return };
    let mut reproduced = 0;
    for entry in fs::read_dir(corpus.join("kiro-revisions")).unwrap() {
        let folder = entry.unwrap().path();
        let before = fs::read(folder.join("before.md")).unwrap();
        let after = fs::read(folder.join("after.md")).unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mask = |bytes: &[u8]| text(bytes).split('\n').map(masked).collect::<Vec<_>>();
        if mask(&before) != mask(&after) {
            eprintln!("{}: more than check boxes changed", folder.display());
            continue;
        }
        let wanted = TaskFile::read(&after).items;
        let mut bytes = before.clone();
        // Parts before parents: a parent is often ticked along with its last part.
        for (was, want) in TaskFile::read(&before).items.iter().zip(&wanted).rev() {
            assert_eq!(was.id, want.id);
            let now = TaskFile::read(&bytes).task(&was.id).cloned().unwrap_or_else(|| was.clone());
            let star = if now.optional && !want.optional { Star::Drop } else { Star::Keep };
            if now.state != want.state || star == Star::Drop {
                bytes = tick_with(&bytes, &was.id, target(want.state), star).unwrap();
            }
        }
        assert_eq!(text(&bytes), text(&after), "{}", folder.display());
        reproduced += 1;
    }
    assert!(reproduced > 0, "no pair was reproduced");
    eprintln!("{reproduced} pairs reproduced");
}
