//! Gives twenty thousand scores.
#![forbid(unsafe_code)]

use necro_guest_hostile::necro_sdk::routing::{Decision, Score};

necro_guest_hostile::router!(|decision| {
    let score = Score { role: "x".to_owned(), points: 1.0, matched: Vec::new() };
    Decision { scores: vec![score; 20_000], ..decision }
});
