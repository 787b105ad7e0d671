//! Takes memory and keeps it, until it is stopped.
#![forbid(unsafe_code)]

use necro_sdk::routing::{Candidate, Decision, Issue};
use necro_sdk::{Failure, RoutingPolicy, Settings};

const CHUNK_BYTES: usize = 1 << 20;

/// Hoards.
#[derive(Debug)]
pub struct MemoryHog;

impl RoutingPolicy for MemoryHog {
    fn route(_: &Issue, _: &[Candidate], _: &Settings, _: &str) -> Result<Decision, Failure> {
        let mut hoard = Vec::new();
        loop {
            hoard.push(std::hint::black_box(vec![1_u8; CHUNK_BYTES]));
        }
    }
}

necro_sdk::export_routing!(MemoryHog);
