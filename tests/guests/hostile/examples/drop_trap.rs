//! Panics when it is cleaned up, after it has decided.
#![forbid(unsafe_code)]

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("while it is dropped");
    }
}

necro_guest_hostile::router!(|decision| {
    let _bomb = Bomb;
    decision
});
