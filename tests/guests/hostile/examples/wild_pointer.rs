//! Hands the host a string that lies beyond its memory.
#![expect(unsafe_code, reason = "it breaks what safe code keeps")]

use necro_guest_hostile::necro_sdk::host::log;

necro_guest_hostile::router!(|decision| {
    // SAFETY: none; that is the deed.
    let text = unsafe {
        let far = std::ptr::without_provenance::<u8>(usize::MAX - 100);
        std::str::from_utf8_unchecked(std::slice::from_raw_parts(std::hint::black_box(far), 90))
    };
    log::emit(log::Level::Info, text, &[]);
    decision
});
