//! Ends its process.
#![forbid(unsafe_code)]

necro_guest_hostile::router!(|_| std::process::exit(0));
