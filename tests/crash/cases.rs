//! One case: a run that meets one or more points, and is gone on with until it is done.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use necro_host::registry::Reader;
use necro_host::store::BlobStore;

use crate::job::Kitchen;
use crate::left::{Left, gave_up, wrong};
use crate::sites::{Act, Census, Point, count_into};
use crate::world::plain;

/// A run is gone on with so often at most.
const MAX_STARTS: usize = 4;

/// How a case ended.
#[derive(Debug)]
pub(crate) struct Played {
    /// The points that it was to meet, in this order.
    pub(crate) points: Vec<Point>,
    /// Those that it met.
    pub(crate) met: usize,
    /// What is not as it should be.
    pub(crate) problems: Vec<String>,
    /// What was passed while it was gone on with.
    pub(crate) going_on: Census,
    /// The folder, when it is kept.
    pub(crate) kept: Option<PathBuf>,
}

impl Played {
    /// The case as it is asked for.
    pub(crate) fn name(&self) -> String {
        self.points.iter().map(Point::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// Runs the job without a disturbance, and gives what it left and what it passed.
pub(crate) fn undisturbed() -> (Left, Census) {
    let kitchen = Kitchen::new();
    let log = kitchen.world.path("passed");
    let mut command = kitchen.run();
    count_into(&mut command, &log);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let found = wrong(&kitchen);
    assert!(found.is_empty(), "{found:#?}");
    (Left::of(&kitchen), Census::read(&log))
}

/// Plays a case. `resumes`: it is gone on with by `resume`, else by the same `run`.
pub(crate) fn play(points: &[Point], resumes: bool, undisturbed: &Left, keep: bool) -> Played {
    let kitchen = Kitchen::new();
    let log = kitchen.world.path("passed");
    let mut played =
        Played { points: points.to_vec(), met: 0, problems: Vec::new(), going_on: Census::default(), kept: None };
    let mut story = String::new();
    for start in 0..points.len() + MAX_STARTS {
        if is_done(&kitchen) {
            break;
        }
        let mut command = if start == 0 || !resumes { kitchen.run() } else { kitchen.resume() };
        if let Some(point) = points.get(start) {
            point.put_into(&mut command);
        } else {
            count_into(&mut command, &log);
        }
        let output = command.output().unwrap();
        story.push_str(&format!("== start {start}: {}\n", said(&output)));
        match points.get(start) {
            Some(point) if met(point, &output) => {
                played.met += 1;
                played.problems.extend(silent(point, &output));
            }
            Some(point) if output.status.success() => {
                story.push_str(&format!("`{point}` was not met\n"));
                break;
            }
            // A run that never began leaves nothing that could be gone on with.
            None if output.status.success() => break,
            _ if resumes && start > 0 && nothing_to_resume(&output) => {
                let again = kitchen.run().output().unwrap();
                story.push_str(&format!("== run: {}\n", said(&again)));
                if again.status.success() {
                    break;
                }
                played.problems.push("the run could not be begun again".to_owned());
                break;
            }
            _ => {
                played.problems.push(format!("start {start} failed: {}", said(&output)));
                break;
            }
        }
    }
    played.going_on = Census::read(&log);
    if kitchen.world.state().join("registry.db").exists() {
        played.problems.extend(wrong(&kitchen));
        played.problems.extend(Left::of(&kitchen).differences(undisturbed, gave_up(&kitchen)));
    } else {
        played.problems.push("there is no registry".to_owned());
    }
    if keep || !played.problems.is_empty() {
        played.problems.extend((!played.problems.is_empty()).then_some(story));
        played.kept = Some(kept(&kitchen, &played.name()));
    }
    played
}

/// Moves the folder to where it stays, for whoever looks into it.
fn kept(kitchen: &Kitchen, name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("crash").join(name.replace([' ', ',', '/'], "-"));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
    let copied = plain("cp").arg("-a").arg(kitchen.world.path(".")).arg(&folder).status().unwrap();
    assert!(copied.success(), "the folder of a case cannot be kept");
    folder
}

/// Whether the run has its end: then there is nothing to go on with.
fn is_done(kitchen: &Kitchen) -> bool {
    let state = kitchen.world.state();
    if !state.join("registry.db").exists() {
        return false;
    }
    let reader = Reader::open(&state.join("registry.db"), BlobStore::open(state.join("blobs")).unwrap());
    reader.is_ok_and(|reader| reader.latest_run().unwrap().is_some_and(|run| run.outcome.as_deref() == Some("done")))
}

/// Whether the process ended as the point wants it.
fn met(point: &Point, output: &Output) -> bool {
    match point.act {
        Act::Kill => output.status.signal() == Some(9),
        Act::Full => !output.status.success(),
    }
}

/// A full disk has to be named, and has an exit code.
fn silent(point: &Point, output: &Output) -> Option<String> {
    let words = String::from_utf8_lossy(&output.stderr);
    let named = words.contains("disk is full") || words.contains("No space left");
    let well = named && output.status.code() == Some(3) && !words.contains("panicked");
    (point.act == Act::Full && !well).then(|| format!("the full disk is not told as it should be: {}", said(output)))
}

fn nothing_to_resume(output: &Output) -> bool {
    output.status.code() == Some(2)
}

/// How a command ended, in words.
pub(crate) fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}
