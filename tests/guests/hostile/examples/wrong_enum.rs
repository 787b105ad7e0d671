//! Hands the host a level that does not exist.
#![expect(unsafe_code, reason = "it breaks what safe code keeps")]

use necro_guest_hostile::necro_sdk::host::log;

necro_guest_hostile::router!(|decision| {
    // SAFETY: none; that is the deed.
    let level = unsafe { std::mem::transmute::<u8, log::Level>(std::hint::black_box(200)) };
    log::emit(level, "loud", &[]);
    decision
});
