//! Stores artifacts until the disk is full.
#![forbid(unsafe_code)]

use necro_guest_hostile::necro_sdk::host::artifact;

necro_guest_hostile::spirit!(|_| {
    let bytes = vec![7; 1 << 20];
    loop {
        let _ = artifact::put("log", "flood.bin", "application/octet-stream", &bytes);
    }
});
