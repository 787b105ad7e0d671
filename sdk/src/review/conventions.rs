//! How languages mark source and test files, tests inside source files, and what tools write.

/// Extensions of files that hold code.
const SOURCE_EXTENSIONS: &[&str] = &[
    "c", "cc", "clj", "cpp", "cs", "dart", "ex", "exs", "go", "h", "hpp", "hs", "java", "js", "jsx", "kt", "lua",
    "mjs", "ml", "php", "py", "rb", "rs", "scala", "sql", "svelte", "swift", "ts", "tsx", "vue", "zig",
];
/// Files in which package managers lock versions.
const LOCK_FILES: &[&str] = &[
    "Cargo.lock",
    "Gemfile.lock",
    "Pipfile.lock",
    "bun.lockb",
    "composer.lock",
    "go.sum",
    "npm-shrinkwrap.json",
    "package-lock.json",
    "pnpm-lock.yaml",
    "poetry.lock",
    "uv.lock",
    "yarn.lock",
];
/// Folders that hold tests.
const TEST_FOLDERS: &[&str] = &["test", "tests", "__tests__", "spec", "specs", "e2e", "testing"];
/// What marks a test inside a source file. At the start of a line, but for spaces.
const TEST_MARKS: &[&str] = &[
    "#[test]",
    "#[cfg(test)]",
    "#[tokio::test",
    "#[rstest",
    "proptest!",
    "def test_",
    "async def test_",
    "class Test",
    "func Test",
    "func Benchmark",
    "func Example",
    "@Test",
    "@ParameterizedTest",
    "[Fact]",
    "[Theory]",
    "[Test]",
    "describe(",
    "it(",
    "test(",
    "test \"",
    "TEST(",
    "TEST_F(",
    "TEST_CASE(",
    "deftest ",
    "(deftest ",
    ">>> ",
];

/// Whether a path names a file with code.
#[must_use]
pub fn is_source(path: &str) -> bool {
    let name = file_name(path);
    name.rsplit_once('.').is_some_and(|(stem, extension)| !stem.is_empty() && SOURCE_EXTENSIONS.contains(&extension))
}

/// Whether a path names a test file: by folder or by name.
#[must_use]
pub fn is_test_file(path: &str) -> bool {
    let name = file_name(path);
    let folders = &path[..path.len() - name.len()];
    if folders.split('/').any(|folder| TEST_FOLDERS.contains(&folder)) {
        return is_source(path);
    }
    let Some((stem, extension)) = name.rsplit_once('.') else { return false };
    let by_suffix = ["_test", "_tests", "_spec", ".test", ".spec", "-test", ".tests"].iter().any(|s| stem.ends_with(s));
    let by_prefix = stem.starts_with("test_") || stem == "tests" || stem == "test" || stem == "conftest";
    let by_class = matches!(extension, "java" | "kt" | "cs" | "scala" | "php" | "swift")
        && (stem.ends_with("Test") || stem.ends_with("Tests") || stem.ends_with("Spec"));
    is_source(path) && (by_suffix || by_prefix || by_class)
}

/// Whether an added line begins a test inside a source file.
#[must_use]
pub fn has_test_mark(line: &str) -> bool {
    let line = line.trim_start();
    // An assertion in a documentation comment is a test that runs; in plain code it is none.
    let documented = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"));
    documented.is_some_and(|text| text.trim_start().starts_with("assert"))
        || TEST_MARKS.iter().any(|mark| line.starts_with(mark))
}

/// Whether a line has more than a comment or a bracket.
#[must_use]
pub fn is_code_line(line: &str) -> bool {
    let line = line.trim();
    let comment = ["//", "/*", "* ", "*/", "--", "<!--", "\"\"\""].iter().any(|start| line.starts_with(start))
        || line == "*"
        || (line.starts_with('#') && !line.starts_with("#[") && !line.starts_with("#!["));
    !comment && line.chars().any(char::is_alphanumeric)
}

/// Whether a path names a file in which a package manager locks versions.
#[must_use]
pub fn is_lock_file(path: &str) -> bool {
    LOCK_FILES.contains(&file_name(path))
}

/// The last part of a path.
#[must_use]
pub fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// What follows the last dot of a path's name, in lower case; empty when there is none.
#[must_use]
pub fn ending(path: &str) -> String {
    file_name(path).rsplit_once('.').map(|(_, ending)| ending.to_lowercase()).unwrap_or_default()
}
