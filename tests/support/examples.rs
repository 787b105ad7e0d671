//! Components that are examples of one crate below `tests/guests/`: `frozen` and `hostile` have many.

use crate::guests::guest;

/// The bytes of one.
pub(crate) fn example_bytes(name: &str) -> Vec<u8> {
    let file = guest("").with_file_name("examples").join(format!("{name}.wasm"));
    std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
