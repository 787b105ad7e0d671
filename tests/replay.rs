//! Old runs once more, through the binary: repeated from copies of their state directories, damaged ones
//! included, decided by other policies, and looked at call by call.

#![expect(clippy::unwrap_used, reason = "what a test needs is there, or the test fails")]

#[path = "support/golden.rs"]
mod golden;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "support/guests.rs"]
mod guests;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "end_to_end/records.rs"]
mod records;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "end_to_end/replies.rs"]
mod replies;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "end_to_end/world.rs"]
mod world;

#[path = "replay/copies.rs"]
mod copies;
#[path = "replay/damage.rs"]
mod damage;
#[path = "replay/moments.rs"]
mod moments;
#[path = "replay/others.rs"]
mod others;
#[path = "replay/whole.rs"]
mod whole;
