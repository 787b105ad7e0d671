//! Builds the test plugins of `tests/guests-python/` with componentize-py, where it is installed: on the
//! PATH, or in the virtual environment that `.ci/run` makes below the target directory.

use std::path::{Path, PathBuf};
use std::process::Command;

use necro_host::store::digest_of;

/// The component of `tests/guests-python/<name>`, of the world `world`; `None`, and why is said, where it
/// cannot be built. What was built before from the same sources is used again.
pub(crate) fn python_guest(test: &str, name: &str, world: &str) -> Option<Vec<u8>> {
    let Some((componentize, version)) = componentize_py() else {
        eprintln!("SKIPPED {test}: componentize-py is not installed; `.ci/run` installs it from PyPI");
        return None;
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let (app, wit) = (root.join("tests/guests-python").join(name), root.join("wit"));
    let mut sources = version.into_bytes();
    for folder in [&app, &wit] {
        files(folder).iter().for_each(|file| sources.extend(std::fs::read(file).unwrap()));
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-guests");
    let built = folder.join(format!("{name}-{}.wasm", digest_of(&sources)));
    if !built.exists() {
        std::fs::create_dir_all(&folder).unwrap();
        build(&componentize, &app, &wit, world, &built);
    }
    Some(std::fs::read(built).unwrap())
}

/// The files of a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.is_file());
    files.sort();
    files
}

/// The program and its version.
#[expect(clippy::disallowed_methods, reason = "a test that starts a compiler")]
fn componentize_py() -> Option<(PathBuf, String)> {
    let own = Path::new(env!("CARGO_TARGET_TMPDIR")).join("componentize-py/bin/componentize-py");
    [own, PathBuf::from("componentize-py")].into_iter().find_map(|program| {
        let output = Command::new(&program).arg("--version").output().ok()?;
        output.status.success().then(|| (program, String::from_utf8_lossy(&output.stdout).into_owned()))
    })
}

/// Into a name of its own first: several tests may build the same guest.
#[expect(clippy::disallowed_methods, reason = "a test that starts a compiler")]
fn build(componentize: &Path, app: &Path, wit: &Path, world: &str, built: &Path) {
    let place = tempfile::tempdir_in(built.parent().unwrap()).unwrap();
    let new = place.path().join("guest.wasm");
    // The Python inside writes what it compiles beside the sources: beside a copy.
    let copy = place.path().join("app");
    std::fs::create_dir(&copy).unwrap();
    for file in files(app) {
        std::fs::copy(&file, copy.join(file.file_name().unwrap())).unwrap();
    }
    let mut command = Command::new(componentize);
    command.arg("--quiet").arg("--wit-path").arg(wit).args(["--world", world, "componentize", "app"]);
    command.arg("--python-path").arg(&copy).arg("--output").arg(&new);
    // Another environment's packages are not part of it.
    command.env_remove("VIRTUAL_ENV").current_dir(place.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::rename(new, built).unwrap();
}
