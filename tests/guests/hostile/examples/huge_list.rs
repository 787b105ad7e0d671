//! Hands the host a list of a hundred thousand fields.
#![forbid(unsafe_code)]

use necro_guest_hostile::necro_sdk::host::log;

necro_guest_hostile::router!(|decision| {
    let fields = vec![("name".to_owned(), "value".to_owned()); 100_000];
    log::emit(log::Level::Info, "many", &fields);
    decision
});
