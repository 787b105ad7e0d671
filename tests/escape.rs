//! Commands that try to get out of the sandbox, each really run: confined, where it must fail for the reason
//! that the table in `tests/README.md` names, and, where that is safe, not confined, where it must succeed.
//! `NECRO_BLESS=1 cargo test -p necro-host --test escape` writes the table anew.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "what a test needs is there, or the test fails")]

#[path = "escape/bounds.rs"]
mod bounds;
#[path = "escape/place.rs"]
mod place;
#[path = "escape/repository.rs"]
mod repository;
#[path = "escape/rows.rs"]
mod rows;
#[path = "escape/toolchains.rs"]
mod toolchains;

use std::fmt::Write as _;
use std::path::Path;

use bounds::BOUNDS;
use place::{Place, confinement};
use rows::{Open, ROWS, Row};

#[tokio::test]
async fn no_command_gets_out_and_each_would_without_the_sandbox() {
    let Some(on) = confinement() else { return };
    let mut wrong = String::new();
    for row in ROWS {
        let place = Place::new();
        let before = place.picture();
        let kept_in = place.said(&place.sandbox(on.clone()), row).await;
        if kept_in.contains("ESCAPED") || !kept_in.contains(row.stops) {
            writeln!(wrong, "{}: confined, it should say `{}`: {kept_in}", row.name, row.stops).unwrap();
        }
        if place.picture() != before {
            writeln!(wrong, "{}: it changed what lies outside", row.name).unwrap();
        }
        if !row.open.is_shown() {
            continue;
        }
        let place = Place::new();
        let free = place.said(&place.sandbox(necro_host::sandbox::Confinement::Off), row).await;
        if !free.contains("ESCAPED") {
            writeln!(wrong, "{}: not even without the sandbox does it get out: {free}", row.name).unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

const BEGIN: &str = "<!-- escapes: begin -->\n";
const END: &str = "<!-- escapes: end -->\n";

#[test]
fn the_table_of_escapes_is_what_the_tests_play() {
    let names: std::collections::BTreeSet<&str> =
        ROWS.iter().map(|row| row.name).chain(BOUNDS.iter().map(|row| row.0)).collect();
    assert!(names.len() >= 25 && names.len() == ROWS.len() + BOUNDS.len());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/README.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (table, after) = rest.split_once(END).unwrap();
    let mut made = String::from(
        "| Command | What it tries | What stopped it | It says | Shown without |\n| --- | --- | --- | --- | --- |\n",
    );
    for Row { name, tries, layer, stops, open, .. } in ROWS {
        let shown = match open {
            Open::Shown => "yes",
            Open::Root => "as root",
            Open::Unsafe => "no",
        };
        writeln!(made, "| {name} | {tries} | {layer} | {stops} | {shown} |").unwrap();
    }
    for (name, tries, layer) in BOUNDS {
        writeln!(made, "| {name} | {tries} | {layer} | | |").unwrap();
    }
    if std::env::var_os("NECRO_BLESS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{made}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(table, made, "write it anew: NECRO_BLESS=1 cargo test -p necro-host --test escape");
}
