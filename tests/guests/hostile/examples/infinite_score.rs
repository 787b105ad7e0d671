//! Gives a score that is too large for a number.
#![forbid(unsafe_code)]

use necro_guest_hostile::necro_sdk::routing::{Decision, Score};

necro_guest_hostile::router!(|decision| {
    let score = Score { role: "backend".to_owned(), points: f64::MAX * std::hint::black_box(2.0), matched: Vec::new() };
    Decision { scores: vec![score], ..decision }
});
