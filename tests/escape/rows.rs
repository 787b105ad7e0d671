//! What commands try, and what stops each of them.

/// What is run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Script {
    /// By `sh`.
    Shell(&'static str),
    /// By `python3`, after a prelude.
    Python(&'static str),
}

/// Whether it can be shown that the command gets out without the sandbox.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Open {
    /// By anybody.
    Shown,
    /// By root alone: others are stopped by the system anyway.
    Root,
    /// It would harm this machine, or depends on it.
    Unsafe,
}

impl Open {
    pub(crate) fn is_shown(self) -> bool {
        match self {
            Self::Shown => true,
            Self::Root => rustix::process::geteuid().is_root(),
            Self::Unsafe => false,
        }
    }
}

/// A hostile command. It says `ESCAPED` when it got what it wanted.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) tries: &'static str,
    pub(crate) script: Script,
    /// What it says when it is kept in.
    pub(crate) stops: &'static str,
    pub(crate) layer: &'static str,
    pub(crate) open: Open,
}

const DENIED: &str = "Permission denied";
const FORBIDDEN: &str = "Operation not permitted";

const fn row(
    name: &'static str,
    tries: &'static str,
    layer: &'static str,
    stops: &'static str,
    open: Open,
    script: Script,
) -> Row {
    Row { name, tries, script, stops, layer, open }
}

const fn shell(name: &'static str, tries: &'static str, script: &'static str) -> Row {
    row(name, tries, "Landlock: files", DENIED, Open::Shown, Script::Shell(script))
}

const fn filtered(name: &'static str, tries: &'static str, open: Open, script: &'static str) -> Row {
    row(name, tries, "seccomp", FORBIDDEN, open, Script::Python(script))
}

pub(crate) const ROWS: &[Row] = &[
    shell("write beside", "writes into the slot, beside `work/`", "echo x > ../new && echo ESCAPED"),
    shell("write above", "writes into another folder of the user's", "echo x > $OUT/new && echo ESCAPED"),
    shell("profile", "appends to a file of the home", "echo x >> $OUT/home/.profile && echo ESCAPED"),
    shell("truncate", "empties a file outside without writing", "truncate -s 0 $OUT/secret && echo ESCAPED"),
    shell("remove", "removes a file outside", "rm -f $OUT/secret && echo ESCAPED"),
    row(
        "move in",
        "moves a file from outside into `work/`",
        "Landlock: files",
        DENIED,
        Open::Shown,
        Script::Python(
            "try:\n os.rename(OUT + '/secret', 'taken'); print('ESCAPED')\nexcept OSError as e: print(os.strerror(13 if e.errno in (13, 18) else e.errno))",
        ),
    ),
    row(
        "hard link",
        "links a file from outside into `work/`",
        "Landlock: files",
        DENIED,
        Open::Shown,
        Script::Python(
            "try:\n os.link(OUT + '/secret', 'taken'); print('ESCAPED')\nexcept OSError as e: print(os.strerror(13 if e.errno in (13, 18) else e.errno))",
        ),
    ),
    shell("link to read", "reads through a link that leads out", "ln -s $OUT l; cat l/secret && echo ESCAPED"),
    shell("link to write", "writes through a link that leads out", "ln -s $OUT/home l; echo x > l/new && echo ESCAPED"),
    shell("read a secret", "reads a file of the user's", "cat $OUT/secret && echo ESCAPED"),
    shell("list a home", "lists a folder of the user's", "ls $OUT/home && echo ESCAPED"),
    shell("git directory", "writes into the slot's `git/`", "echo x > ../git/HEAD && echo ESCAPED"),
    shell("tmp", "leaves a file in `/tmp`", "f=/tmp/necro-escape-$$; : > $f && rm $f && echo ESCAPED"),
    shell(
        "shared memory",
        "leaves a file in `/dev/shm`",
        "f=/dev/shm/necro-escape-$$; : > $f && rm $f && echo ESCAPED",
    ),
    row(
        "shadow",
        "reads the password hashes",
        "Landlock: files",
        DENIED,
        Open::Root,
        Script::Shell("cat /etc/shadow > /dev/null && echo ESCAPED"),
    ),
    row(
        "kernel log",
        "reads a device",
        "Landlock: files",
        DENIED,
        Open::Unsafe,
        Script::Shell("head -c 1 /dev/kmsg && echo ESCAPED"),
    ),
    row(
        "kernel settings",
        "opens a setting of the kernel for writing",
        "Landlock: files",
        DENIED,
        Open::Root,
        Script::Shell(": >> /proc/sys/kernel/core_pattern && echo ESCAPED"),
    ),
    row(
        "cgroup",
        "makes a control group",
        "Landlock: files",
        DENIED,
        Open::Unsafe,
        Script::Shell("mkdir /sys/fs/cgroup/necro-escape && rmdir /sys/fs/cgroup/necro-escape && echo ESCAPED"),
    ),
    row(
        "device node",
        "makes a disk's device node to read it past all files",
        "Landlock: files",
        DENIED,
        Open::Unsafe,
        Script::Python(
            "import stat\ntry:\n os.mknod('disk', stat.S_IFBLK | 0o600, os.makedev(7, 0)); print('ESCAPED')\nexcept OSError as e: print(os.strerror(13 if e.errno in (1, 13) else e.errno))",
        ),
    ),
    row(
        "environment of others",
        "reads the environment of a process outside",
        "Landlock: processes",
        DENIED,
        Open::Shown,
        Script::Shell("grep -c SECRET /proc/$VICTIM/environ && echo ESCAPED"),
    ),
    row(
        "root of others",
        "reads files by way of another process",
        "Landlock: processes",
        DENIED,
        Open::Shown,
        Script::Shell("ls /proc/$VICTIM/root/ > /dev/null && echo ESCAPED"),
    ),
    row(
        "signal",
        "sends a signal to a process outside",
        "Landlock: signals",
        FORBIDDEN,
        Open::Shown,
        Script::Shell("/bin/kill -0 $VICTIM && echo ESCAPED"),
    ),
    row(
        "own environment",
        "looks for the host's secrets in its environment",
        "environment",
        "nothing",
        Open::Unsafe,
        Script::Shell("env | grep -q hunter2 && echo ESCAPED; echo nothing"),
    ),
    filtered(
        "TCP",
        "connects to a server on this machine",
        Open::Shown,
        "import socket\ntry:\n socket.create_connection(('127.0.0.1', PORT)); print('ESCAPED')\nexcept OSError as e: print(e)",
    ),
    filtered(
        "UDP",
        "sends a datagram",
        Open::Shown,
        "import socket\ntry:\n socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', PORT)); print('ESCAPED')\nexcept OSError as e: print(e)",
    ),
    filtered(
        "UNIX socket",
        "connects to a service by its path, as to an agent of keys",
        Open::Shown,
        "import socket\ntry:\n socket.socket(socket.AF_UNIX).connect(OUT + '/socket'); print('ESCAPED')\nexcept OSError as e: print(e)",
    ),
    filtered(
        "abstract socket",
        "listens on a name that others can connect to",
        Open::Shown,
        "import socket\ntry:\n socket.socket(socket.AF_UNIX).bind('\\0necro-escape-%d' % os.getpid()); print('ESCAPED')\nexcept OSError as e: print(e)",
    ),
    filtered(
        "netlink",
        "asks the kernel for its network",
        Open::Shown,
        "import socket\ntry:\n socket.socket(16, socket.SOCK_RAW, 0).bind((0, 0)); print('ESCAPED')\nexcept OSError as e: print(e)",
    ),
    filtered(
        "io_uring",
        "does its work through a ring, past filters",
        Open::Unsafe,
        "p = ctypes.create_string_buffer(120)\ncall(425, 425, 4, p)",
    ),
    filtered("ptrace", "takes a process outside over", Open::Shown, "call(101, 117, 0x4206, VICTIM, 0, 0)"),
    filtered(
        "memory of others",
        "reads the memory of a process outside",
        Open::Unsafe,
        "call(310, 270, VICTIM, 0, 0, 0, 0, 0)",
    ),
    filtered("user namespace", "becomes root in a namespace of its own", Open::Root, "call(272, 97, 0x10000000)"),
    filtered(
        "new namespace by clone",
        "the same while it starts a process",
        Open::Root,
        "r = libc.syscall(ctypes.c_long(56 if platform.machine() == 'x86_64' else 220), ctypes.c_long(0x10000000 | 17), 0, 0, 0, 0)\nif r == 0: os._exit(0)\nprint('ESCAPED' if r > 0 else os.strerror(ctypes.get_errno()))",
    ),
    row(
        "clone3",
        "the same with flags that no filter sees",
        "seccomp",
        "Function not implemented",
        Open::Unsafe,
        Script::Python("call(435, 435, 0, 0)"),
    ),
    filtered(
        "mount",
        "mounts a file system over its rules",
        Open::Unsafe,
        "call(165, 40, b'none', b'.', b'tmpfs', 0, 0)",
    ),
    filtered("chroot", "changes its root", Open::Root, "call(161, 51, b'.')"),
    filtered("file handle", "opens a file by its number", Open::Unsafe, "call(304, 265, 0, 0, 0)"),
    filtered("keyring", "reads the user's keyring", Open::Shown, "call(250, 219, 0, -3, 1, 0)"),
    filtered("bpf", "loads a program into the kernel", Open::Unsafe, "call(321, 280, 0, 0, 0)"),
    filtered("typing", "types into a terminal", Open::Unsafe, "call(16, 29, 1, 0x5412, b'x')"),
    filtered(
        "mark",
        "takes off the mark by which it is found",
        Open::Shown,
        "import resource\ntry:\n resource.setrlimit(15, (5 * 10**8, 5 * 10**8)); print('ESCAPED')\nexcept (OSError, ValueError) as e: print('Operation not permitted')",
    ),
    row(
        "x32",
        "makes a socket by another number of the same call",
        "seccomp",
        "Function not implemented",
        Open::Unsafe,
        Script::Python("call(0x40000000 + 41, 0x40000000 + 198, 2, 1, 0)"),
    ),
    row(
        "new privileges",
        "gains privileges by a program like sudo",
        "no new privileges",
        "NoNewPrivs:\t1",
        Open::Shown,
        Script::Shell("grep NoNewPrivs /proc/self/status; grep -q 'NoNewPrivs:.0' /proc/self/status && echo ESCAPED"),
    ),
    row(
        "capabilities",
        "gives a file to another user as only root may",
        "no capabilities",
        FORBIDDEN,
        Open::Root,
        Script::Shell("chown 12345 mine && echo ESCAPED"),
    ),
    row(
        "limits",
        "lifts its own limits",
        "limits",
        FORBIDDEN,
        Open::Shown,
        Script::Python(
            "import resource\ntry:\n resource.setrlimit(resource.RLIMIT_CORE, (1, resource.getrlimit(resource.RLIMIT_CORE)[1])); print('ESCAPED')\nexcept (OSError, ValueError): print('Operation not permitted')",
        ),
    ),
];
