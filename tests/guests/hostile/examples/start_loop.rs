//! Loops before anybody has called it.
#![cfg_attr(target_arch = "wasm32", expect(unsafe_code, reason = "only unsafe code runs before it is called"))]

#[cfg(target_arch = "wasm32")]
#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = {
    extern "C" fn start() {
        loop {
            std::hint::black_box(());
        }
    }
    start
};

necro_guest_hostile::router!(|decision| decision);
