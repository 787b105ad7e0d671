//! The system calls that commands do not have, as filters of seccomp. What is not named stays: a list
//! of all that programs need would break with each new version of a library.

use seccompiler::{BpfProgram, TargetArch, apply_filter, compile_from_json, sock_filter};
use serde_json::{Value, json};

/// Refused with "not permitted", whatever the arguments are.
const DENIED: &[&str] = &[
    // Work that passes by every other rule, since the kernel does it later.
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    // Other processes' memory, files and state.
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "pidfd_getfd",
    "kcmp",
    "move_pages",
    "migrate_pages",
    // Namespaces, mounts, roots.
    "unshare",
    "setns",
    "mount",
    "umount2",
    "pivot_root",
    "chroot",
    "move_mount",
    "open_tree",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "open_by_handle_at",
    "fanotify_init",
    "quotactl",
    "quotactl_fd",
    // Keys of the user's session.
    "keyctl",
    "add_key",
    "request_key",
    // The kernel itself, and parts of it that have often been broken.
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "kexec_load",
    "kexec_file_load",
    "init_module",
    "finit_module",
    "delete_module",
    "lookup_dcookie",
    "swapon",
    "swapoff",
    "reboot",
    "sethostname",
    "setdomainname",
    "settimeofday",
    "clock_settime",
    "clock_adjtime",
    "adjtimex",
    "acct",
    "syslog",
    "vhangup",
];

/// The same, of one architecture alone.
#[cfg(target_arch = "x86_64")]
const DENIED_HERE: &[&str] = &["iopl", "ioperm", "modify_ldt"];
#[cfg(not(target_arch = "x86_64"))]
const DENIED_HERE: &[&str] = &[];

/// Flags of `clone` that make a namespace.
const NEW_NAMESPACES: &[u64] =
    &[0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];
/// Requests of `ioctl` that type into a terminal.
const TYPES_IN: &[u64] = &[0x5412, 0x541C];
/// `RLIMIT_RTTIME`, which carries the mark of a command.
const MARK: u64 = 15;
/// The Internet's families of sockets.
const INTERNET: [u64; 2] = [2, 10];
const NOT_PERMITTED: u32 = 1;
const NO_SUCH_CALL: u32 = 38;
/// Numbers from here on are those of another interface to the same calls, x32.
const OTHER_INTERFACE: u32 = 0x4000_0000;

/// Installs the filters for this thread and what it becomes.
pub(super) fn apply(network: bool) -> Result<(), String> {
    let fail = |error: &dyn std::fmt::Display| format!("system calls cannot be filtered: {error}");
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| fail(&error))?;
    let text = rules(network).to_string();
    let mut programs = compile_from_json(text.as_bytes(), arch).map_err(|error| fail(&error))?;
    for name in ["missing", "denied"] {
        let program = programs.remove(name).ok_or_else(|| fail(&name))?;
        apply_filter(&guarded(program)).map_err(|error| fail(&error))?;
    }
    Ok(())
}

fn rules(network: bool) -> Value {
    let equal = |index: u8, value: u64| json!({ "index": index, "type": "dword", "op": "eq", "val": value });
    let other = |index: u8, value: u64| json!({ "index": index, "type": "dword", "op": "ne", "val": value });
    let mut denied: Vec<Value> = DENIED.iter().chain(DENIED_HERE).map(|name| json!({ "syscall": name })).collect();
    denied.extend(NEW_NAMESPACES.iter().map(|flag| {
        let has = json!({ "index": 0, "type": "qword", "op": { "masked_eq": flag }, "val": flag });
        json!({ "syscall": "clone", "args": [has] })
    }));
    denied.extend(TYPES_IN.iter().map(|request| json!({ "syscall": "ioctl", "args": [equal(1, *request)] })));
    denied.push(json!({ "syscall": "setrlimit", "args": [equal(0, MARK)] }));
    let sets = json!({ "index": 2, "type": "qword", "op": "ne", "val": 0 });
    denied.push(json!({ "syscall": "prlimit64", "args": [equal(1, MARK), sets] }));
    denied.push(if network {
        json!({ "syscall": "socket", "args": INTERNET.map(|family| other(0, family)) })
    } else {
        json!({ "syscall": "socket" })
    });
    let set = |errno: u32, filter: Vec<Value>| json!({ "mismatch_action": "allow", "match_action": { "errno": errno }, "filter": filter });
    json!({
        "denied": set(NOT_PERMITTED, denied),
        // Its flags lie in memory, where no filter sees them; libraries take `clone` in its place.
        "missing": set(NO_SUCH_CALL, vec![json!({ "syscall": "clone3" })]),
    })
}

/// Puts a check in front that refuses x32's numbers, which the rules do not know.
fn guarded(program: BpfProgram) -> BpfProgram {
    // Load the number; if it is that large, go on to the next statement, else to the one after it.
    let load = sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 };
    let is_other = sock_filter { code: 0x35, jt: 0, jf: 1, k: OTHER_INTERFACE };
    let refuse = sock_filter { code: 0x06, jt: 0, jf: 0, k: 0x0005_0000 | NO_SUCH_CALL };
    [load, is_other, refuse].into_iter().chain(program).collect()
}
