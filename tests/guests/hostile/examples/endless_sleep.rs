//! Sleeps for ever.
#![forbid(unsafe_code)]

necro_guest_hostile::router!(|_| {
    loop {
        std::thread::sleep(std::time::Duration::from_secs(3600));
    }
});
