//! Chooses a spirit that is no candidate.
#![forbid(unsafe_code)]

use necro_guest_hostile::necro_sdk::routing::Decision;

necro_guest_hostile::router!(|decision| { Decision { instance: "backend_spirit_9".to_owned(), ..decision } });
