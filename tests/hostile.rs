//! The hostile set: components that each do one bad thing. Each is contained with a named error, the host goes
//! on, and a well-behaved plugin of the same engine decides as before. `tests/README.md` has the table, which is
//! made here: `NECRO_BLESS=1 cargo test -p necro-host --test hostile` writes it anew.

#![expect(clippy::unwrap_used, reason = "what a test needs is there, or the test fails")]

#[path = "support/examples.rs"]
mod examples;
#[path = "plugin_engine/fakes.rs"]
#[expect(dead_code, reason = "it is the fake host of other tests as well")]
mod fakes;
#[path = "support/guests.rs"]
mod guests;
#[path = "hostile/made.rs"]
mod made;
#[path = "hostile/play.rs"]
mod play;
#[path = "hostile/rows.rs"]
mod rows;
#[path = "hostile/slots.rs"]
mod slots;

use std::fmt::Write as _;
use std::path::Path;

use play::{Stage, outcome, well_behaved};
use rows::{Act, ROWS, Row};

/// Plays the rows of one kind, one after the other in one engine, and tells all that end otherwise at once.
async fn play(is_one: impl Fn(&Row) -> bool) {
    let stage = Stage::new().await;
    let mut wrong = String::new();
    let mut count = 0;
    for row in ROWS.iter().filter(|row| is_one(row)) {
        count += 1;
        let ended = outcome(&stage, row).await;
        if !ended.contains(row.ends) {
            writeln!(wrong, "{}\n  should end with: {}\n  ended with: {ended}", row.name, row.ends).unwrap();
        }
        well_behaved(&stage, row.name).await;
    }
    assert!(wrong.is_empty() && count > 0, "\n{wrong}");
}

#[tokio::test]
async fn what_cannot_be_loaded_is_refused_by_name_and_the_host_goes_on() {
    play(|row| matches!(row.act, Act::Load(_) | Act::LoadAs(..))).await;
}

#[tokio::test]
async fn hostile_policies_and_heuristics_are_contained_and_the_host_goes_on() {
    play(|row| matches!(row.act, Act::Route(_) | Act::RouteBy(..) | Act::Twice(_) | Act::Order(_) | Act::Review(_)))
        .await;
}

#[tokio::test]
async fn hostile_spirits_are_contained_and_the_host_goes_on() {
    play(|row| matches!(row.act, Act::Perform(_) | Act::PerformBy(..) | Act::Granted(..))).await;
}

#[tokio::test]
async fn no_spirit_gets_out_of_its_work_tree_and_the_host_goes_on() {
    play(|row| matches!(row.act, Act::InSlot(..))).await;
}

#[tokio::test]
async fn a_component_with_any_bit_flipped_is_refused_or_does_what_it_may() {
    let stage = Stage::new().await;
    let bytes = guests::guest_bytes("last-candidate");
    // Every part of the file, and other bits at each place.
    for (number, at) in (0..bytes.len()).step_by(bytes.len() / 24).enumerate() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (number % 8);
        play::load_and_route(&stage, flipped).await;
    }
    well_behaved(&stage, "bit flips").await;
}

#[test]
fn the_hostile_set_has_at_least_thirty_components_of_which_none_is_twice() {
    let names: std::collections::BTreeSet<&str> = ROWS.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), ROWS.len());
    assert!(names.len() >= 30);
}

const BEGIN: &str = "<!-- hostile set: begin -->\n";
const END: &str = "<!-- hostile set: end -->\n";

#[test]
fn the_table_of_the_hostile_set_is_what_the_tests_play() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/README.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (table, after) = rest.split_once(END).unwrap();
    let mut made = String::from("| Component | What it does | What becomes of it |\n| --- | --- | --- |\n");
    for Row { name, deed, ends, .. } in ROWS {
        writeln!(made, "| {name} | {deed} | {} |", ends.replace('|', "\\|")).unwrap();
    }
    if std::env::var_os("NECRO_BLESS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{made}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(table, made, "write it anew: NECRO_BLESS=1 cargo test -p necro-host --test hostile");
}
