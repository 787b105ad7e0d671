//! Gives one lease back twice.
#![expect(unsafe_code, reason = "it breaks what safe code keeps")]

use necro_guest_hostile::necro_sdk::host::lock;

necro_guest_hostile::spirit!(|_| {
    let Ok(lease) = lock::acquire("deploy", 1_000, 0) else { return Vec::new() };
    // SAFETY: none; that is the deed.
    drop(unsafe { lock::Lease::from_handle(lease.handle()) });
    drop(lease);
    vec!["gave it back twice".to_owned()]
});
