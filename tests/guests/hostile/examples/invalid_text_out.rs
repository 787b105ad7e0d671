//! Hands the host a string that is no UTF-8.
#![expect(unsafe_code, reason = "it breaks what safe code keeps")]

use necro_guest_hostile::necro_sdk::host::log;

necro_guest_hostile::router!(|decision| {
    // SAFETY: none; that is the deed.
    let text = unsafe { String::from_utf8_unchecked(vec![0xc3, 0x28]) };
    log::emit(log::Level::Info, &text, &[]);
    decision
});
