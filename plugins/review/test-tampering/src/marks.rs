//! How tests of the usual languages assert and are switched off, and how coverage is asked for.

/// What switches tests off: the text at a line's beginning, and the endings of files.
const SKIPS: &[(&str, &[&str])] = &[
    ("#[ignore", &["rs"]),
    ("@pytest.mark.skip", &["py"]),
    ("@pytest.mark.xfail", &["py"]),
    ("pytest.skip(", &["py"]),
    ("@unittest.skip", &["py"]),
    ("@unittest.expectedFailure", &["py"]),
    ("raise unittest.SkipTest", &["py"]),
    ("self.skipTest(", &["py"]),
    ("it.skip(", JS),
    ("test.skip(", JS),
    ("describe.skip(", JS),
    ("it.todo(", JS),
    ("test.todo(", JS),
    ("xit(", JS),
    ("xtest(", JS),
    ("xdescribe(", JS),
    ("t.Skip(", &["go"]),
    ("t.Skipf(", &["go"]),
    ("t.SkipNow(", &["go"]),
    ("@Disabled", &["java", "kt", "scala"]),
    ("@Ignore", &["java", "kt", "scala"]),
    ("[Ignore", &["cs"]),
    ("@tag :skip", &["exs"]),
    ("@tag skip:", &["exs"]),
    ("xdescribe ", &["rb"]),
    ("xcontext ", &["rb"]),
    ("xit ", &["rb"]),
    ("pending ", &["rb"]),
];
const JS: &[&str] = &["js", "jsx", "ts", "tsx", "mjs", "cjs"];

/// Beginnings of assertions, after spaces.
const ASSERTIONS: &[&str] = &[
    "assert",
    "debug_assert",
    "prop_assert",
    "self.assert",
    "self.fail",
    "expect(",
    "await expect(",
    "expect!",
    "t.Error",
    "t.Fatal",
    "require.",
    "assert.",
    "Assert.",
    "Assertions.",
    "assertThat(",
    "verify(",
    "with pytest.raises",
    "with self.assertRaises",
    "pytest.raises",
    "should ",
    "expect ",
    "refute",
    "EXPECT_",
    "ASSERT_",
    "CHECK(",
    "REQUIRE(",
    "insta::assert",
    "cy.",
];
/// Beginnings of assertions that hold whatever happens, without spaces.
const VACUOUS: &[&str] = &[
    "assert!(true",
    "assert_eq!(true,true",
    "assert_eq!(1,1",
    "assertTrue(true",
    "self.assertTrue(True",
    "self.assertEqual(1,1",
    "self.assertEqual(True,True",
    "expect(true).toBe(true",
    "expect(true).toBeTruthy(",
    "expect(true).toEqual(true",
    "expect(1).toBe(1",
    "expect(1).toEqual(1",
    "assert.True(t,true",
    "require.True(t,true",
    "assert.ok(true",
    "assert(true",
    "Assert.True(true",
    "Assert.IsTrue(true",
];
/// Keys of thresholds of coverage, in lower case.
const THRESHOLDS: &[&str] = &[
    "fail_under",
    "fail-under",
    "cov-fail-under",
    "fail-under-lines",
    "fail-under-functions",
    "minimum_coverage",
    "coveragethreshold",
    "coverage_threshold",
    "min-coverage",
    "minimum-coverage",
    "branches",
    "functions",
    "lines",
    "statements",
];

/// What switches a test off on this line.
pub(crate) fn is_skip(line: &str, ending: &str) -> Option<&'static str> {
    let line = line.trim_start();
    SKIPS.iter().find(|(mark, endings)| endings.contains(&ending) && line.starts_with(mark)).map(|(mark, _)| *mark)
}

/// Whether a line begins an assertion.
pub(crate) fn is_assertion(line: &str) -> bool {
    let line = line.trim_start();
    ASSERTIONS.iter().any(|start| line.starts_with(start))
}

/// Whether an assertion holds whatever happens.
pub(crate) fn is_vacuous(line: &str) -> bool {
    let bare = line.trim();
    let bare = bare.trim_end_matches([';', ',']);
    if matches!(bare, "assert True" | "assert 1" | "assert 1 == 1" | "assert True is True" | "assert not False") {
        return true;
    }
    let tight: String = bare.chars().filter(|c| !c.is_whitespace()).collect();
    // A message may follow; another operand may not.
    let is_end = |rest: &str| rest.starts_with([')', ',']) || rest.is_empty();
    VACUOUS.iter().any(|mark| tight.strip_prefix(mark).is_some_and(is_end))
}

/// A line with each literal replaced: what stays when only a value changes.
pub(crate) fn shape(line: &str) -> String {
    let mut shape = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    let mut after_word = false;
    while let Some(c) = chars.next() {
        if c == '"' || c == '\'' || c == '`' {
            let mut escaped = false;
            for inner in chars.by_ref() {
                if inner == c && !escaped {
                    break;
                }
                escaped = inner == '\\' && !escaped;
            }
            shape.push('§');
            after_word = false;
        } else if c.is_ascii_digit() && !after_word {
            while chars.peek().is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_')) {
                chars.next();
            }
            shape.push('§');
        } else {
            after_word = c.is_alphanumeric() || c == '_';
            shape.push(c);
        }
    }
    shape.replace("true", "§").replace("false", "§").replace("True", "§").replace("False", "§").replace("-§", "§")
}

/// The key and number of a threshold of coverage.
pub(crate) fn threshold(line: &str) -> Option<(String, f64)> {
    let lower = line.trim().to_lowercase();
    let digits = lower.find(|c: char| c.is_ascii_digit())?;
    let (head, rest) = lower.split_at(digits);
    let key = head.trim_end_matches(|c: char| !c.is_alphanumeric());
    let key = key.rsplit(|c: char| !c.is_alphanumeric() && c != '_' && c != '-').next()?.trim_start_matches('-');
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let number: f64 = rest[..end].trim_end_matches('.').parse().ok()?;
    let is_plain =
        head.trim_start().starts_with(['"', '\'']) || !["branches", "functions", "lines", "statements"].contains(&key);
    (THRESHOLDS.contains(&key) && is_plain && number <= 100.0).then(|| (key.to_owned(), number))
}
