//! A host that is killed, at every place where it writes or does something: the run is gone on with, and
//! ends as if nothing had happened. Also a disk that is full at any write, and two kills in a row.
//!
//! `NECRO_CRASH=all` kills at every hit of every site, and `NECRO_CRASH='kill SITE HIT'` (more of them after
//! a comma: killed again while it goes on) plays that one case and keeps its folder.

#![expect(clippy::unwrap_used, reason = "what a test needs is there, or the test fails")]
#![expect(clippy::print_stdout, reason = "the table of sites and cases")]

#[expect(dead_code, reason = "other tests use the rest")]
#[path = "support/guests.rs"]
mod guests;
#[path = "support/llm_server.rs"]
mod llm_server;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "end_to_end/records.rs"]
mod records;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "end_to_end/replies.rs"]
mod replies;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "end_to_end/world.rs"]
mod world;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "support/yard.rs"]
mod yard;

#[path = "crash/cases.rs"]
mod cases;
#[path = "crash/job.rs"]
mod job;
#[path = "crash/left.rs"]
mod left;
#[path = "crash/operator.rs"]
mod operator;
#[path = "crash/queue.rs"]
mod queue;
#[path = "crash/sites.rs"]
mod sites;
#[path = "crash/sweep.rs"]
mod sweep;
