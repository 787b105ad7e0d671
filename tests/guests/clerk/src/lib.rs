//! A spirit without a model: it takes a lock, writes notes, sends itself mail and reads it, keeps an artifact
//! and writes a file. What it says in the end shows whether any of it was done twice or not at all.
#![forbid(unsafe_code)]

use necro_sdk::host::{artifact, lock, mailbox, registry, workspace, workspace_edit};
use necro_sdk::spirit::{Assignment, Envelope, Prompt, Report, WorkKind};
use necro_sdk::{Failure, Settings, Spirit};

/// Letters that it sends itself, and notes that it writes.
const LETTERS: u32 = 3;
/// How long the lock lasts when nobody gives it back, in milliseconds.
const LOCK_MS: u64 = 600_000;

/// Writes things down.
#[derive(Debug)]
pub struct Clerk;

impl Spirit for Clerk {
    fn role() -> &'static str {
        "clerk"
    }

    fn title() -> &'static str {
        "Clerk"
    }

    fn skills() -> &'static [&'static str] {
        &["clerk"]
    }

    fn prompt(_: WorkKind) -> Option<Prompt> {
        None
    }

    fn perform(assignment: &Assignment, _: &Settings) -> Result<Report, Failure> {
        let desk = take_desk()?;
        for number in 1..=LETTERS {
            registry::note(&format!("note {number}")).map_err(Failure::Host)?;
            mailbox::send(&Envelope {
                kind: "letter".to_owned(),
                agent_instance: assignment.envelope.agent_instance.clone(),
                issue_id: None,
                payload: number.to_string(),
                spec_id: None,
                task_id: None,
                sender: None,
                message_id: None,
            })
            .map_err(Failure::Host)?;
        }
        let letters: Vec<String> =
            mailbox::receive().map_err(Failure::Host)?.into_iter().map(|letter| letter.payload).collect();
        artifact::put("log", "letters.log", "text/plain", letters.join("\n").as_bytes()).map_err(Failure::Host)?;
        workspace_edit::write("letters.txt", &format!("{}\n", letters.join(", "))).map_err(Failure::Host)?;
        drop(desk);
        let again = take_desk()?;
        let kept = workspace::read("letters.txt", None).map_err(Failure::Host)?.text;
        workspace_edit::write("letters.txt", &format!("{kept}under the lock {}\n", again.name()))
            .map_err(Failure::Host)?;
        Ok(Report { title: "file letters".to_owned(), summary: format!("Letters: {}.", letters.join(", ")) })
    }
}

fn take_desk() -> Result<lock::Lease, Failure> {
    lock::acquire("desk", LOCK_MS, 0).map_err(Failure::Host)
}

necro_sdk::export_spirit!(Clerk);
