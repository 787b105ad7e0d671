//! Calls the host for ever.
#![forbid(unsafe_code)]

use necro_guest_hostile::necro_sdk::host::log;

necro_guest_hostile::router!(|_| {
    loop {
        log::emit(log::Level::Info, "x", &[]);
    }
});
