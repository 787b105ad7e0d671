//! Calls the host while the host hands it its input: its allocator does.
#![cfg_attr(target_arch = "wasm32", expect(unsafe_code, reason = "an allocator is unsafe"))]

#[cfg(target_arch = "wasm32")]
mod allocator {
    use std::alloc::{GlobalAlloc, Layout, System};

    use necro_guest_hostile::necro_sdk::host::log;

    struct Calling;

    // SAFETY: what is allocated is what `System` gives.
    unsafe impl GlobalAlloc for Calling {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            log::emit(log::Level::Info, "allocating", &[]);
            // SAFETY: as above.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
            // SAFETY: as above.
            unsafe { System.dealloc(at, layout) }
        }
    }

    #[global_allocator]
    static ALLOCATOR: Calling = Calling;
}

necro_guest_hostile::router!(|decision| decision);
