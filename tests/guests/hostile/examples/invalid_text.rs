//! Returns a reason that is no UTF-8.
#![expect(unsafe_code, reason = "it breaks what safe code keeps")]

use necro_guest_hostile::necro_sdk::routing::Decision;

necro_guest_hostile::router!(|decision| {
    // SAFETY: none; that is the deed.
    let reason = unsafe { String::from_utf8_unchecked(vec![0xff, 0xfe, 0x41]) };
    Decision { reason, ..decision }
});
