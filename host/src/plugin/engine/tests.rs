//! What would make a guest's results differ between machines, written in wasm by hand: the engine gives
//! the one answer, or refuses it.

use wasmtime::{Instance, Module, Store};

use super::*;

/// Both ways of allocation.
fn engines() -> [wasmtime::Engine; 2] {
    [pooling(1, 1 << 20), on_demand()].map(|config| wasmtime::Engine::new(&config).unwrap())
}

/// A module whose function `f` takes an `i32`, does `body` and gives an `i32`.
fn module(body: &[u8]) -> Vec<u8> {
    let sized = |bytes: &[u8]| [&[u8::try_from(bytes.len()).unwrap()], bytes].concat();
    let code = sized(&[&[0][..], body, &[0x0b]].concat());
    let sections = [
        (1, vec![1, 0x60, 1, 0x7f, 1, 0x7f]),
        (3, vec![1, 0]),
        (7, vec![1, 1, b'f', 0, 0]),
        (10, [vec![1], code].concat()),
    ];
    let mut bytes = b"\0asm\x01\0\0\0".to_vec();
    for (id, section) in sections {
        bytes.push(id);
        bytes.extend(sized(&section));
    }
    bytes
}

/// What `f` gives for these bits, everywhere.
fn answers(body: &[u8], bits: u32) -> [u32; 2] {
    engines().map(|engine| {
        let module = Module::new(&engine, module(body)).unwrap();
        let mut store = Store::new(&engine, ());
        store.set_fuel(1_000).unwrap();
        store.set_epoch_deadline(1);
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let f = instance.get_typed_func::<u32, u32>(&mut store, "f").unwrap();
        f.call(&mut store, bits).unwrap()
    })
}

const NAN: u32 = 0x7fc0_0000;

#[test]
fn a_nan_has_the_same_bits_on_every_machine() {
    // local.get 0, f32.reinterpret_i32, twice; then subtract or add; i32.reinterpret_f32.
    let twice = [0x20, 0, 0xbe, 0x20, 0, 0xbe];
    let made_of_infinity = [&twice[..], &[0x93, 0xbc]].concat();
    assert_eq!(answers(&made_of_infinity, f32::INFINITY.to_bits()), [NAN; 2]);
    let made_of_another = [&twice[..], &[0x92, 0xbc]].concat();
    for other in [0x7fe1_2345, 0xffc1_2345] {
        assert_eq!(answers(&made_of_another, other), [NAN; 2]);
    }
}

#[test]
fn relaxed_simd_makes_the_same_choice_on_every_machine() {
    // f32x4.splat of the argument, i32x4.relaxed_trunc_f32x4_s, i32x4.extract_lane 0: what is no number
    // becomes 0 or the least integer, as the processor likes.
    let truncated = [0x20, 0, 0xbe, 0xfd, 0x13, 0xfd, 0x81, 0x02, 0xfd, 0x1b, 0];
    assert_eq!(answers(&truncated, NAN), [0; 2]);
    assert_eq!(answers(&truncated, 3e9_f32.to_bits()), [i32::MAX.cast_unsigned(); 2]);
}

#[test]
fn memory_that_threads_share_is_refused() {
    // A memory of one page; flag 1: it has a maximum; flag 2: it is shared.
    let memory = |flags: u8| [b"\0asm\x01\0\0\0", &[5, 4, 1, flags, 1, 1][..]].concat();
    for engine in engines() {
        Module::new(&engine, memory(1)).unwrap();
        let refused = format!("{:#}", Module::new(&engine, memory(3)).unwrap_err());
        assert!(refused.contains("threads"), "{refused}");
    }
}
