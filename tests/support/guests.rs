//! Builds the test plugins of `tests/guests/` when a test needs them, into the same private target
//! directory as `host/build.rs` uses for the built-in ones, so that their libraries are built once.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The component of `tests/guests/<name>`.
pub(crate) fn guest(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(build);
    folder.join(format!("necro_guest_{}.wasm", name.replace('-', "_")))
}

/// Its bytes.
pub(crate) fn guest_bytes(name: &str) -> Vec<u8> {
    std::fs::read(guest(name)).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a test that starts cargo")]
fn build() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("necro-plugins");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo and its subcommands set for this test's own build must not reach the inner one.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let kept = ["CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_BUILD_JOBS"].contains(&name.as_str());
        let build = name.starts_with("CARGO_") || name.starts_with("RUSTC") || name.starts_with("RUSTFLAGS");
        if (build && !kept) || name == "LD_LIBRARY_PATH" {
            cargo.env_remove(name);
        }
    }
    cargo.current_dir(root).args(["build", "--locked", "--target", "wasm32-wasip2", "--profile", "plugin"]);
    cargo.args(["--lib", "--examples"]).arg("--target-dir").arg(&target_dir);
    for entry in std::fs::read_dir(root.join("tests/guests")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        cargo.args(["-p", &format!("necro-guest-{name}")]);
    }
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target_dir.join("wasm32-wasip2/plugin")
}
