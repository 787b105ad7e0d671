//! Builds the components below `plugins/` and embeds them: a nested cargo with a private target
//! directory, shared by `cargo build`, `test` and `clippy`, so that nothing is built twice.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

#[path = "src/plugin/section.rs"]
mod section;

const TARGET: &str = "wasm32-wasip2";
/// The folders below `plugins/` and the kinds that they stand for.
const KINDS: [(&str, &str); 4] =
    [("review", "Review"), ("routing", "Routing"), ("scheduling", "Scheduling"), ("spirits", "Spirit")];
/// What the outer cargo and rustup tell this script, and what must not reach the inner cargo: it builds
/// for another target, with another profile, and must not be measured or linted along.
const CLEARED: [&str; 15] = [
    "RUSTFLAGS",
    "RUSTDOCFLAGS",
    "RUSTC",
    "RUSTDOC",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "CLIPPY_ARGS",
    "TARGET",
    "HOST",
    "PROFILE",
    "OUT_DIR",
    "NUM_JOBS",
    "OPT_LEVEL",
    "DEBUG",
    "LD_LIBRARY_PATH",
];
/// Variables of cargo that say where things are, and not what is being built.
const KEPT: [&str; 3] = ["CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_BUILD_JOBS"];

/// A crate below `plugins/`.
struct Plugin {
    kind: &'static str,
    name: String,
    package: String,
    /// The text of its `plugin.toml`, if it has one.
    manifest: Option<String>,
    /// SHA-256 of the component, when it is built.
    digest: String,
}

fn main() -> ExitCode {
    match embed() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without a backtrace, whatever RUST_BACKTRACE says: what to do is all that helps here.
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn embed() -> Result<()> {
    let host = PathBuf::from(env("CARGO_MANIFEST_DIR")?);
    let root = host.parent().context("the host crate has no parent folder")?;
    let out = PathBuf::from(env("OUT_DIR")?);
    for path in ["Cargo.toml", "Cargo.lock", "wit", "sdk/Cargo.toml", "host/src/plugin/section.rs"] {
        watch(&root.join(path));
    }
    let mut plugins = find(&root.join("plugins"))?;
    if !plugins.is_empty() {
        ensure_target()?;
        let target_dir = private_target_dir(&out)?;
        build(root, &target_dir, &plugins)?;
        collect(&target_dir.join(TARGET).join("plugin"), &out, &mut plugins)?;
    }
    write_if_changed(&out.join("vendored.rs"), vendored(root)?.as_bytes())?;
    println!("cargo:rustc-env=NECRO_WASMTIME_VERSION={}", locked_version(&root.join("Cargo.lock"), "wasmtime")?);
    write_if_changed(&out.join("builtin.rs"), table(&plugins)?.as_bytes())
}

fn env(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("cargo did not set {name}"))
}

fn watch(path: &Path) {
    println!("cargo:rerun-if-changed={}", path.display());
}

/// The version of a dependency: libraries do not tell their own.
fn locked_version(lock: &Path, package: &str) -> Result<String> {
    let text = std::fs::read_to_string(lock).with_context(|| format!("{} cannot be read", lock.display()))?;
    let rest = text.split(&format!("name = \"{package}\"\nversion = \"")).nth(1);
    let version = rest.and_then(|rest| rest.split('"').next());
    Ok(version.with_context(|| format!("{} lacks {package}", lock.display()))?.to_owned())
}

/// Every crate `plugins/<kind>/<name>`, in a stable order.
fn find(folder: &Path) -> Result<Vec<Plugin>> {
    let mut plugins = Vec::new();
    for (folder_name, kind) in KINDS {
        let Ok(entries) = std::fs::read_dir(folder.join(folder_name)) else { continue };
        for entry in entries {
            let manifest = entry?.path().join("Cargo.toml");
            let Ok(text) = std::fs::read_to_string(&manifest) else { continue };
            watch(&manifest);
            let package =
                text.lines().find_map(|line| line.strip_prefix("name = ")).map(|n| n.trim().trim_matches('"'));
            let package = package.with_context(|| format!("{} has no line `name = …`", manifest.display()))?;
            let name = manifest.parent().and_then(Path::file_name).context("a plugin has no folder")?;
            let name = name.to_str().context("a plugin's folder has no UTF-8 name")?.to_owned();
            let described = manifest.with_file_name("plugin.toml");
            watch(&described);
            let described = std::fs::read_to_string(described).ok();
            let (package, digest) = (package.to_owned(), String::new());
            plugins.push(Plugin { kind, name, package, manifest: described, digest });
        }
    }
    plugins.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    Ok(plugins)
}

#[expect(clippy::disallowed_methods, reason = "a build script starts rustc, rustup and cargo")]
fn command(program: &str) -> Command {
    Command::new(program)
}

/// Adds the target once when rustup can; says what to type when it cannot.
fn ensure_target() -> Result<()> {
    if has_target()? {
        return Ok(());
    }
    let adding = command("rustup").args(["target", "add", TARGET]).output();
    if !adding.is_ok_and(|output| output.status.success()) || !has_target()? {
        bail!(
            "the plugins are built for {TARGET}, which this toolchain lacks and could not fetch: type `rustup target add {TARGET}`"
        );
    }
    Ok(())
}

fn has_target() -> Result<bool> {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let output = command(&rustc).args(["--print", "sysroot"]).output().context("rustc does not start")?;
    let sysroot = String::from_utf8(output.stdout).context("the sysroot has no UTF-8 name")?;
    Ok(Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).join("lib").is_dir())
}

/// `<target>/necro-plugins`, from `<target>/<profile>/build/<crate>/out`: neither the outer cargo's
/// directory, whose lock is held, nor one of its own for every way of building.
fn private_target_dir(out: &Path) -> Result<PathBuf> {
    let build = out.ancestors().find(|path| path.file_name().is_some_and(|name| name == "build"));
    let target = build.and_then(Path::parent).and_then(Path::parent);
    Ok(target.with_context(|| format!("{} lies in no target directory", out.display()))?.join("necro-plugins"))
}

fn build(root: &Path, target_dir: &Path, plugins: &[Plugin]) -> Result<()> {
    let mut cargo = command(&env("CARGO")?);
    cargo.current_dir(root);
    for (name, _) in std::env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        if (name.starts_with("CARGO_") && !KEPT.contains(&name)) || CLEARED.contains(&name) {
            cargo.env_remove(name);
        }
    }
    cargo.args(["build", "--locked", "--target", TARGET, "--profile", "plugin", "--target-dir"]).arg(target_dir);
    for plugin in plugins {
        cargo.args(["-p", &plugin.package]);
    }
    let output = cargo.output().context("cargo does not start")?;
    ensure!(
        output.status.success(),
        "building the plugins failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Copies the components, their manifests inside, to where this build of the host keeps them, and watches their
/// sources.
fn collect(built: &Path, out: &Path, plugins: &mut [Plugin]) -> Result<()> {
    let mut watched = BTreeSet::new();
    for plugin in plugins {
        let file = plugin.package.replace('-', "_");
        let wasm = built.join(format!("{file}.wasm"));
        let mut bytes = std::fs::read(&wasm).with_context(|| format!("{} was not built", wasm.display()))?;
        if let Some(manifest) = &plugin.manifest {
            bytes = section::embed(&bytes, manifest)?;
            ensure!(section::read(&bytes)? == Some(manifest), "the manifest of {} is not in it", plugin.name);
        }
        plugin.digest = Sha256::digest(&bytes).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        write_if_changed(&out.join(format!("{file}.wasm")), &bytes)?;
        let dependencies = built.join(format!("{file}.d"));
        let text = std::fs::read_to_string(&dependencies)
            .with_context(|| format!("{} was not written", dependencies.display()))?;
        watched.extend(sources(&text));
    }
    for source in watched {
        watch(Path::new(&source));
    }
    Ok(())
}

/// The paths after the colon of a Makefile rule, in which a backslash keeps a space.
fn sources(rule: &str) -> Vec<String> {
    let Some((_, paths)) = rule.split_once(": ") else { return Vec::new() };
    let paths = paths.lines().next().unwrap_or_default().replace("\\ ", "\0");
    paths.split_whitespace().map(|path| path.replace('\0', " ")).collect()
}

fn table(plugins: &[Plugin]) -> Result<String> {
    let mut text =
        String::from("/// Every built-in plugin, sorted by kind and name.\npub const ALL: &[Builtin] = &[\n");
    for Plugin { kind, name, package, manifest: _, digest } in plugins {
        let file = package.replace('-', "_");
        writeln!(
            text,
            "    Builtin {{ kind: PluginKind::{kind}, name: {name:?}, digest: {digest:?}, bytes: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{file}.wasm\")) }},"
        )?;
    }
    text.push_str("];\n");
    Ok(text)
}

/// Keeps the time of an unchanged file, so that nothing that includes it is compiled again.
fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<()> {
    if std::fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    std::fs::write(path, bytes).with_context(|| format!("{} cannot be written", path.display()))
}

/// The SDK and the contract as `plugin new` writes them: tables of path and text.
fn vendored(root: &Path) -> Result<String> {
    let mut text = String::new();
    let (sdk, wit) = (root.join("sdk"), root.join("wit"));
    let manifest = alone(&read(&sdk.join("Cargo.toml"))?, &read(&root.join("Cargo.toml"))?)?;
    writeln!(text, "/// Files of the SDK.\nconst SDK: &[(&str, &str)] = &[\n    (\"Cargo.toml\", {manifest:?}),")?;
    let mut files = vec![sdk.join("README.md")];
    files_below(&sdk.join("src"), &mut files)?;
    // Its own tests are no part of it.
    files.retain(|file| file.file_name().is_some_and(|name| name != "tests.rs"));
    table_of(&mut text, &sdk, &files)?;
    text.push_str("/// Files of the contract with the host.\nconst WIT: &[(&str, &str)] = &[\n");
    let mut files = Vec::new();
    files_below(&wit, &mut files)?;
    table_of(&mut text, &wit, &files)?;
    Ok(text)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

fn table_of(text: &mut String, root: &Path, files: &[PathBuf]) -> Result<()> {
    for file in files {
        watch(file);
        writeln!(text, "    ({:?}, include_str!({file:?})),", file.strip_prefix(root)?)?;
    }
    text.push_str("];\n");
    Ok(())
}

/// All files of a folder, in order.
fn files_below(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    watch(folder);
    let entries = std::fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() { files_below(&path, files)? } else { files.push(path) }
    }
    Ok(())
}

/// A crate's Cargo.toml with what it takes from the workspace written out, and without what its own tests and
/// lints need, which stands at its end.
fn alone(manifest: &str, workspace: &str) -> Result<String> {
    let manifest = manifest.split("[dev-dependencies]").next().unwrap_or(manifest);
    let mut text = String::new();
    for line in manifest.lines() {
        let Some((name, _)) = line.split_once(".workspace = true") else {
            text.push_str(line);
            text.push('\n');
            continue;
        };
        let given = workspace.lines().find(|given| given.starts_with(&format!("{name} = ")));
        text.push_str(given.with_context(|| format!("the workspace's Cargo.toml has no `{name}`"))?);
        text.push('\n');
    }
    Ok(text)
}
