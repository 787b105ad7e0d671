//! Uses a lease that nobody gave it.
#![expect(unsafe_code, reason = "it breaks what safe code keeps")]

use necro_guest_hostile::necro_sdk::host::lock;

necro_guest_hostile::spirit!(|_| {
    // SAFETY: none; that is the deed.
    let lease = unsafe { lock::Lease::from_handle(4_711) };
    vec![lease.name()]
});
