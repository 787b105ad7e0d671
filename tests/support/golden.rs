//! State directories that earlier releases left: kept packed in `tests/fixtures/golden/`, one for each
//! release, and unpacked for the tests that open, read, upgrade or replay them with this program.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The releases whose state directories are kept; each has run the demo to its end. One that was never
/// released, but had a schema of its own, is named after it.
pub(crate) const RELEASES: &[&str] = &["0.1.0", "0.1.0-schema-2"];

/// Name of the spec that the demo makes.
pub(crate) const SPEC: &str = "spellbook-search";

/// Unpacks what `release` left into the folder `into` and gives the state directory; none, and a word
/// about it, where the machine cannot unpack it.
#[expect(clippy::disallowed_methods, reason = "a test that starts tar")]
pub(crate) fn unpack(release: &str, into: &Path) -> Option<PathBuf> {
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/fixtures/golden/{release}.tar.xz"));
    for program in ["tar", "xz"] {
        if !Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: the state directory of {release} needs {program}");
            return None;
        }
    }
    let output = Command::new("tar").arg("-xJf").arg(&packed).arg("-C").arg(into).arg("--no-same-owner").output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}: {}", packed.display(), String::from_utf8_lossy(&output.stderr));
    Some(into.join("golden"))
}
