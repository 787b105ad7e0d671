//! Ends its process.
#![forbid(unsafe_code)]
#![expect(clippy::disallowed_methods, reason = "it tries what a guest must not get")]

necro_guest_hostile::router!(|_| std::process::exit(0));
