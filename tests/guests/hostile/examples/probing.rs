//! Looks for time and chance, and decides by them.
#![forbid(unsafe_code)]
#![expect(clippy::disallowed_methods, reason = "it tries what a guest must not get")]

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use necro_guest_hostile::necro_sdk::routing::Decision;

necro_guest_hostile::router!(|decision| {
    let chance = RandomState::new().build_hasher().finish();
    let began = Instant::now();
    std::thread::sleep(Duration::from_millis(50));
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    Decision {
        reason: format!("{chance} {time:?} {:?} {:?}", began.elapsed(), std::thread::current().id()),
        ..decision
    }
});
