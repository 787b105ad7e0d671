//! Who sits where: what a seating changes in a run, and which components can be seated again.

use std::collections::BTreeMap;

use rusqlite::Connection;

use crate::domain::event::{Body, Event};
use crate::domain::id::{Digest, RunId};
use crate::domain::seat::{self, Component, Seating};

use super::error::RegistryError;
use super::query;
use super::rows::{Columns, json_text};

/// Seatings that are looked at, from the newest back: so far back there is no way.
const MAX_SEATINGS: u32 = 10_000;

/// A run goes on with the component that was seated last, also after a crash.
pub(super) fn seated(conn: &Connection, event: &Event) -> Result<(), RegistryError> {
    let Some(run) = &event.subject.run else { return Ok(()) };
    let Some(Seating { seat, component, replaces, by: _ }) = Seating::of(&event.body) else { return Ok(()) };
    let mut plugins: BTreeMap<String, Digest> = conn
        .prepare_cached("SELECT plugins FROM runs WHERE id = ?1")?
        .query_and_then([run.as_str()], |row| row.json("plugins"))?
        .next()
        .ok_or_else(|| RegistryError::UnknownRun(run.clone()))??;
    if let Some(replaced) = replaces {
        plugins.remove(&place(&seat.kind, &replaced));
    }
    plugins.insert(place(&seat.kind, &component), component.digest);
    set(conn, run, &plugins)
}

fn place(kind: &str, component: &Component) -> String {
    format!("{kind}/{}", component.name)
}

fn set(conn: &Connection, run: &RunId, plugins: &BTreeMap<String, Digest>) -> Result<(), RegistryError> {
    let sql = "UPDATE runs SET plugins = ?2 WHERE id = ?1";
    conn.prepare_cached(sql)?.execute((run.as_str(), json_text(plugins)?))?;
    Ok(())
}

/// The newest seatings, newest first.
pub(super) fn newest(conn: &Connection) -> Result<Vec<Event>, RegistryError> {
    query::newest_events(conn, "PluginSeated", MAX_SEATINGS)
}

/// Digests of components that can be seated again, with whether their bytes were stored for certain: what a run
/// began without is named, and need not be.
pub(super) fn reachable(conn: &Connection) -> Result<BTreeMap<Digest, bool>, RegistryError> {
    let events = newest(conn)?;
    let stored = |digest: &Digest| {
        events.iter().any(|event| match &event.body {
            Body::PluginSeated { digest: seated, replaces, by, .. } => {
                let replaced = replaces.as_ref().filter(|_| *by != seat::SeatedBy::Start);
                seated == digest || replaced.is_some_and(|replaced| replaced.digest == *digest)
            }
            _ => false,
        })
    };
    let found = seat::reachable(events.iter().filter_map(|event| Seating::of(&event.body)));
    let digests = found.into_values().flatten().map(|component| component.digest);
    Ok(digests.map(|digest| (digest.clone(), stored(&digest))).collect())
}
