//! Bytes that no compiler writes: cut, flipped and patched components, and parts in WebAssembly text that are
//! appended to a component which is otherwise in order.

use crate::examples::example_bytes;
use crate::guests::guest_bytes;

/// Ids of sections of a component.
const CUSTOM: u8 = 0;
const CORE_MODULE: u8 = 1;
const CORE_INSTANCE: u8 = 2;

fn number(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).unwrap();
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id][..], &number(content.len()), content].concat()
}

/// Core modules that a component defines, at its top.
fn modules(component: &[u8]) -> usize {
    let (mut at, mut count) = (8, 0);
    while at < component.len() {
        let id = component[at];
        let (mut size, mut shift) = (0, 0);
        loop {
            at += 1;
            size |= usize::from(component[at] & 0x7f) << shift;
            shift += 7;
            if component[at] & 0x80 == 0 {
                break;
            }
        }
        at += 1 + size;
        count += usize::from(id == CORE_MODULE);
    }
    count
}

/// A routing policy that has one more module, instantiated as often as `instances` says.
fn with_module(text: &str, instances: usize) -> Vec<u8> {
    let mut bytes = guest_bytes("last-candidate");
    let module = number(modules(&bytes));
    bytes.extend(section(CORE_MODULE, &wat::parse_str(text).unwrap()));
    let instance = [&[0][..], &module, &[0]].concat();
    let all: Vec<u8> = number(instances).into_iter().chain(instance.repeat(instances)).collect();
    bytes.extend(section(CORE_INSTANCE, &all));
    bytes
}

/// A routing policy with these bytes as its manifest.
fn with_manifest(manifest: &[u8]) -> Vec<u8> {
    let name = b"necro:manifest";
    let mut bytes = guest_bytes("last-candidate");
    bytes.extend(section(CUSTOM, &[&number(name.len())[..], name, manifest].concat()));
    bytes
}

pub(crate) fn empty() -> Vec<u8> {
    Vec::new()
}

pub(crate) fn script() -> Vec<u8> {
    b"#!/bin/sh\nrm -rf ~\n".to_vec()
}

pub(crate) fn native() -> Vec<u8> {
    b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec()
}

pub(crate) fn core_module() -> Vec<u8> {
    wat::parse_str("(module (func (export \"route\")))").unwrap()
}

pub(crate) fn truncated() -> Vec<u8> {
    let mut bytes = guest_bytes("last-candidate");
    bytes.truncate(bytes.len() * 2 / 3);
    bytes
}

pub(crate) fn endless_section() -> Vec<u8> {
    let mut bytes = guest_bytes("last-candidate");
    bytes.extend([CUSTOM, 0xff, 0xff, 0xff, 0xff, 0x0f]);
    bytes
}

pub(crate) fn table_growth() -> Vec<u8> {
    let text = "(module (table 1 funcref) (func $grow (loop $again
        (br_if $again (i32.ne (table.grow 0 (ref.null func) (i32.const 1000)) (i32.const -1))) (unreachable)))
        (start $grow))";
    with_module(text, 1)
}

pub(crate) fn huge_table() -> Vec<u8> {
    with_module("(module (table 50000000 funcref))", 1)
}

pub(crate) fn huge_memory() -> Vec<u8> {
    with_module("(module (memory 65536))", 1)
}

pub(crate) fn shared_memory() -> Vec<u8> {
    with_module("(module (memory 1 2 shared))", 1)
}

pub(crate) fn many_instances() -> Vec<u8> {
    with_module("(module)", 500)
}

pub(crate) fn module_start_trap() -> Vec<u8> {
    with_module("(module (func $start (unreachable)) (start $start))", 1)
}

pub(crate) fn module_start_loop() -> Vec<u8> {
    with_module("(module (func $start (loop $again (br $again))) (start $start))", 1)
}

pub(crate) fn lying_kind() -> Vec<u8> {
    with_manifest(b"[plugin]\nname = \"liar\"\nversion = \"0.1.0\"\nkind = \"review\"\n")
}

pub(crate) fn misspelt_manifest() -> Vec<u8> {
    with_manifest(b"[plugin]\nname = \"liar\"\nversion = \"0.1.0\"\nkind = \"routing\"\ntrusted = true\n")
}

pub(crate) fn greedy_manifest() -> Vec<u8> {
    let text =
        "[plugin]\nname = \"liar\"\nversion = \"0.1.0\"\nkind = \"routing\"\n[wants.command]\nwhy = \"to see\"\n";
    with_manifest(text.as_bytes())
}

pub(crate) fn manifest_that_is_no_text() -> Vec<u8> {
    with_manifest(&[0xff, 0xfe, 0x00])
}

/// A spirit that calls everything and whose manifest wants nothing.
pub(crate) fn modest_manifest() -> Vec<u8> {
    let name = b"necro:manifest";
    let manifest = b"[plugin]\nname = \"modest\"\nversion = \"0.1.0\"\nkind = \"spirit\"\n";
    let mut bytes = guest_bytes("every-call");
    bytes.extend(section(CUSTOM, &[&number(name.len())[..], name, manifest].concat()));
    bytes
}

/// The bytes of a component by its name: an example of `hostile`, or a guest of its own.
pub(crate) fn by_name(name: &str) -> Vec<u8> {
    if name.contains('-') || name == "panic" { guest_bytes(name) } else { example_bytes(name) }
}
