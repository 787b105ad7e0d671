//! `plugin history`: who sat where, from when, and by what.

use serde::Serialize;

use crate::cli::args::swap::HistoryArgs;
use crate::cli::style::Style;
use crate::cli::table::{Cell, Table};
use crate::cli::{open, out, words};
use crate::domain::event::{Body, Event};
use crate::domain::id::{RunId, SpecName};
use crate::domain::seat::{Component, SeatedBy, Seating, ShadowCounts};
use crate::service::ServiceError;

/// One line of `plugin history --json`.
#[derive(Debug, Serialize)]
struct Line {
    sequence: u64,
    time: jiff::Timestamp,
    seat: String,
    kind: String,
    #[serde(flatten)]
    component: Component,
    replaces: Option<Component>,
    by: SeatedBy,
    shadow: Option<ShadowCounts>,
    run: Option<RunId>,
    spec: Option<SpecName>,
}

/// Runs `plugin history`.
pub(crate) async fn history(args: HistoryArgs, style: Style) -> Result<(), ServiceError> {
    let HistoryArgs { seat, place, json } = args;
    let events = open::read(&place, |records| Ok(records.reader.seatings()?)).await?;
    let lines: Vec<Line> = events.into_iter().filter_map(|event| line(event, seat.as_deref())).collect();
    if json {
        return out::json(&lines);
    }
    if lines.is_empty() {
        let where_ = seat.map_or_else(String::new, |seat| format!(" `{seat}`"));
        return out::print(&format!("nobody has changed a seat{where_}: there sits the built-in default\n"));
    }
    out::print(&table(&lines).render(style, out::columns()))
}

fn line(event: Event, wanted: Option<&str>) -> Option<Line> {
    let Seating { seat, component, replaces, by } = Seating::of(&event.body)?;
    if wanted.is_some_and(|wanted| !seat.is_meant_by(wanted)) {
        return None;
    }
    let Body::PluginSeated { shadow, .. } = event.body else { return None };
    Some(Line {
        sequence: event.sequence,
        time: event.time,
        seat: seat.to_string(),
        kind: seat.kind,
        component,
        replaces,
        by,
        shadow,
        run: event.subject.run,
        spec: event.subject.spec,
    })
}

fn table(lines: &[Line]) -> Table {
    let mut table = Table::new(&["SINCE", "SEAT", "PLUGIN", "SHA-256", "BY", "IN PLACE OF", "CHANGED", "SPEC"]);
    for Line { time, seat, component, replaces, by, shadow, spec, .. } in lines {
        let shadow =
            shadow.map_or_else(|| "-".to_owned(), |shadow| format!("{} of {}", shadow.changed, shadow.decisions));
        table.row(vec![
            Cell::painted(&words::when(*time), Style::dim),
            seat.as_str().into(),
            component.name.as_str().into(),
            component.digest.short().into(),
            by.as_str().into(),
            replaces.as_ref().map_or("-", |replaced| replaced.name.as_str()).into(),
            shadow.into(),
            spec.as_ref().map_or("-", SpecName::as_str).into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Subject;
    use crate::store::digest_of;

    #[test]
    fn a_line_says_who_sat_where_by_what() {
        let event = Event {
            sequence: 7,
            time: "2026-11-22T10:00:00Z".parse().unwrap(),
            subject: Subject { spec: SpecName::new("list").ok(), ..Subject::default() },
            body: Body::PluginSeated {
                kind: "routing".to_owned(),
                name: "mine".to_owned(),
                digest: digest_of(b"mine"),
                role: None,
                replaces: Some(Component { name: "least-busy".to_owned(), digest: digest_of(b"old") }),
                by: SeatedBy::Swap,
                shadow: Some(ShadowCounts { decisions: 9, changed: 2, failed: 0 }),
            },
        };
        assert!(line(event.clone(), Some("review")).is_none());
        let lines = [line(event, Some("routing")).unwrap()];
        let shown = table(&lines).render(Style::plain(), None);
        for part in ["routing", "mine", "swap", "least-busy", "2 of 9", "list"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
}
