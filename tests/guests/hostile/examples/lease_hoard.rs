//! Takes leases and never gives one back.
#![forbid(unsafe_code)]

use necro_guest_hostile::necro_sdk::host::lock;

necro_guest_hostile::spirit!(|_| {
    let mut number = 0_u64;
    loop {
        number += 1;
        if let Ok(lease) = lock::acquire(&format!("lock-{number}"), 1_000, 0) {
            std::mem::forget(lease);
        }
    }
});
