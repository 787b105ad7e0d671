//! How much slower a durable append is than the bare insert. Run by hand, in release:
//! `cargo test --release -p necro-host --lib registry::tests::bench -- --ignored --nocapture`.
