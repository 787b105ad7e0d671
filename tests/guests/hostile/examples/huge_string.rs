//! Hands the host a string of two mebibytes.
#![forbid(unsafe_code)]

use necro_guest_hostile::necro_sdk::host::log;

necro_guest_hostile::router!(|decision| {
    log::emit(log::Level::Info, &"x".repeat(2 << 20), &[]);
    decision
});
