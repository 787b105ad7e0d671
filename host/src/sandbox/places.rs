//! Which folders a command reaches: its own to write; to read, those of the system, of toolchains and
//! of the slot's history. Homes are not among them, nor is the rest of the state directory.

use std::path::{Path, PathBuf};

use super::env::HostEnv;
use super::run::CommandSpec;

/// What programs, libraries and certificates of the system lie in. Of `/etc` only what every program
/// may know; of `/proc` Landlock itself keeps what belongs to processes outside.
const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/gnu/store",
    "/proc",
    "/sys/devices/system",
    "/sys/fs/cgroup",
    "/sys/kernel/mm/transparent_hugepage",
    "/dev/random",
    "/dev/urandom",
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/crypto-policies",
    "/etc/fonts",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/java",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/locale.alias",
    "/etc/localtime",
    "/etc/machine-id",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/pki",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/shells",
    "/etc/ssl",
    "/etc/timezone",
    "/run/systemd/resolve",
];

/// Of cargo's home: all but credentials.
const OF_CARGO: &[&str] = &["bin", "config", "config.toml", "env", "git", "registry"];

/// What is written, read and executed.
pub(super) fn written(spec: &CommandSpec) -> Vec<PathBuf> {
    let scratch = &spec.scratch;
    vec![spec.dir.clone(), scratch.join("home"), scratch.join("tmp")]
}

/// What is read and executed.
pub(super) fn read(spec: &CommandSpec, host: &HostEnv, program: &Path) -> Vec<PathBuf> {
    let own: Vec<&Path> = spec.readable.iter().map(PathBuf::as_path).chain([spec.dir.as_path()]).collect();
    let guarded = |path: &Path| is_guarded(path, host, &spec.scratch);
    let mut all: Vec<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
    all.extend(own.into_iter().map(Path::to_owned));
    for dir in host.tool_dirs() {
        if !guarded(&dir) {
            all.push(dir);
        }
    }
    all.extend(host.cargo_home().into_iter().flat_map(|home| OF_CARGO.iter().map(move |part| home.join(part))));
    for dir in std::env::split_paths(&host.path) {
        if guarded(&dir) {
            continue;
        }
        // What a program needs beside itself often lies beside its folder.
        all.extend(prefix(&dir).filter(|prefix| !guarded(prefix)));
        all.push(dir);
    }
    // Programs of PATH are often links to somewhere else.
    if let Ok(real) = program.canonicalize()
        && real != program
        && let Some(dir) = real.parent().filter(|dir| !guarded(dir))
    {
        all.extend(prefix(dir).filter(|prefix| !guarded(prefix)));
        all.push(dir.to_owned());
    }
    all.sort();
    all.dedup();
    all
}

/// The folder that a folder of programs is the `bin` of.
fn prefix(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let is_bin = dir.file_name().is_some_and(|name| name == "bin" || name == "sbin");
    dir.parent().filter(|_| is_bin).map(Path::to_owned).into_iter()
}

/// Whether a folder holds more than a toolchain: a home or one above it, what programs keep for users,
/// cargo's home, or the state directory.
fn is_guarded(path: &Path, host: &HostEnv, scratch: &Path) -> bool {
    let above = |inner: &Path| inner.starts_with(path) || inner.canonicalize().is_ok_and(|real| real.starts_with(path));
    let homes = host.home.iter().map(PathBuf::as_path).chain([Path::new("/root"), Path::new("/home")]);
    let is_users = path.parent() == Some(Path::new("/home")) || path.ends_with(".local");
    is_users || homes.into_iter().any(above) || above(scratch) || host.cargo_home().is_some_and(|home| above(&home))
}
