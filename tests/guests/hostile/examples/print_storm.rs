//! Prints for ever.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "it tries what a guest must not get")]

necro_guest_hostile::router!(|_| {
    loop {
        println!("x");
    }
});
