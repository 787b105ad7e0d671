//! Tables over diffs of tests.

use necro_sdk::review::change_of;

use super::*;

fn rules(diff: &str) -> Vec<String> {
    let found = TestTampering::review(&change_of("backend", diff), &Settings::default()).unwrap();
    found.into_iter().map(|f| f.rule).collect()
}

fn modified(path: &str, body: &str) -> String {
    format!("--- a/{path}\n+++ b/{path}\n@@ -1,9 +1,9 @@\n{body}")
}

#[test]
fn a_deleted_file_of_tests_is_told_unless_the_task_names_it() {
    let diff = "--- a/tests/money.rs\n+++ /dev/null\n@@ -1,1 +0,0 @@\n-assert!(f());\n";
    assert_eq!(rules(diff), [DELETED]);
    let asked = Change { text: "Remove `tests/money.rs`".into(), ..change_of("qa", diff) };
    let found = TestTampering::review(&asked, &Settings::default()).unwrap();
    assert_eq!((found.len(), found[0].severity), (1, Severity::Note));
    assert_eq!(rules("--- a/src/money.rs\n+++ /dev/null\n@@ -1,1 +0,0 @@\n-fn f() {}\n"), [""; 0]);
}

#[test]
fn what_is_lost_is_counted_over_the_whole_change() {
    for (diff, expected) in [
        (modified("tests/a.rs", "-    assert_eq!(f(1), 2);\n+    f(1);\n"), &[FEWER_ASSERTIONS][..]),
        (modified("tests/a.py", "-def test_x():\n-    assert f(1) == 2\n x\n"), &[FEWER_TESTS, FEWER_ASSERTIONS]),
        (modified("tests/a.rs", "-    assert_eq!(f(1), 2);\n+    assert_eq!(f(1, None), 2);\n"), &[]),
        (modified("tests/a.rs", "-    assert!(f(1));\n x\n") + &modified("tests/b.rs", "+    assert!(f(1));\n"), &[]),
        (
            modified("web/a.test.ts", "-it('works', () => {\n-  expect(f()).toBe(1);\n-});\n x\n"),
            &[FEWER_TESTS, FEWER_ASSERTIONS],
        ),
        (modified("src/a.rs", "-    #[test]\n-    fn works() { assert!(f()) }\n x\n"), &[FEWER_TESTS]),
        (modified("src/a.py", "-    assert x\n y\n"), &[]),
    ] {
        assert_eq!(rules(&diff), expected, "{diff}");
    }
}

#[test]
fn switched_off_tests_are_told() {
    for (path, line) in [
        ("src/a.rs", "    #[ignore = \"flaky\"]"),
        ("tests/test_a.py", "@pytest.mark.skip(reason='later')"),
        ("tests/test_a.py", "    @pytest.mark.xfail"),
        ("a.test.ts", "  it.skip('works', () => {"),
        ("a.spec.js", "xdescribe('x', () => {"),
        ("a_test.go", "\tt.Skip(\"later\")"),
        ("ATest.java", "    @Disabled"),
    ] {
        assert_eq!(rules(&modified(path, &format!(" x\n+{line}\n"))), [SKIPPED], "{line}");
    }
    let moved = modified("src/a.rs", "-#[ignore]\n+    #[ignore]\n");
    assert_eq!(rules(&moved), [""; 0]);
    assert_eq!(rules(&modified("a.rs", "+// #[ignore] would do\n+let exit(1);\n")), [""; 0]);
}

#[test]
fn assertions_that_cannot_fail_are_told() {
    for (path, line) in [
        ("tests/a.rs", "    assert!(true);"),
        ("tests/a.rs", "    assert!(true, \"works\");"),
        ("tests/a.rs", "    assert_eq!(1, 1);"),
        ("tests/test_a.py", "    assert True"),
        ("tests/test_a.py", "        self.assertTrue(True)"),
        ("a.test.ts", "    expect(true).toBe(true);"),
    ] {
        assert_eq!(rules(&modified(path, &format!(" x\n+{line}\n"))), [VACUOUS], "{line}");
    }
    for line in ["    assert!(true_or(x));", "    assert_eq!(1, 11);", "    assert!(is_true);"] {
        assert_eq!(rules(&modified("tests/a.rs", &format!(" x\n+{line}\n"))), [""; 0], "{line}");
    }
}

#[test]
fn expectations_that_change_alone_are_told() {
    let only = modified("tests/a.rs", "-    assert_eq!(price(3), 300);\n+    assert_eq!(price(3), 299);\n");
    assert_eq!(rules(&only), [EXPECTATION]);
    let with_code = only.clone() + &modified("src/price.rs", "-    n * 100\n+    n * 100 - 1\n");
    assert_eq!(rules(&with_code), [""; 0]);
    let renamed = modified("tests/a.rs", "-    assert_eq!(price(3), 300);\n+    assert_eq!(cost(3), 300);\n");
    assert_eq!(rules(&renamed), [""; 0]);
    let text = modified("tests/test_a.py", "-    assert f() == \"old\"\n+    assert f() == \"new\"\n");
    assert_eq!(rules(&text), [EXPECTATION]);
    let more = modified("tests/a.rs", "-    assert_eq!(f(), 1);\n+    assert_eq!(f(), 2);\n+    assert_eq!(g(), 2);\n");
    assert_eq!(rules(&more), [""; 0]);
}

#[test]
fn a_lower_threshold_of_coverage_is_told() {
    for (path, body, is_told) in [
        ("pyproject.toml", "-fail_under = 90\n+fail_under = 80\n", true),
        ("pyproject.toml", "-fail_under = 80\n+fail_under = 90\n", false),
        ("setup.cfg", "-addopts = --cov-fail-under=95\n+addopts = -q\n", true),
        ("jest.config.json", "-    \"branches\": 90,\n+    \"branches\": 60,\n", true),
        ("src/a.rs", "-    let lines = 90;\n+    let lines = 60;\n", false),
        ("README.md", "-about 90 lines\n+about 60 lines\n", false),
    ] {
        let expected: &[&str] = if is_told { &[COVERAGE] } else { &[] };
        assert_eq!(rules(&modified(path, body)), expected, "{path} {body}");
    }
}

#[test]
fn the_severity_can_be_set_and_misspelt_settings_are_an_error() {
    let change = change_of("qa", &modified("tests/a.rs", "+    assert!(true);\n"));
    let found = TestTampering::review(&change, &Settings::new(r#"{"severity":"block"}"#)).unwrap();
    assert_eq!(found[0].severity, Severity::Block);
    assert!(TestTampering::review(&change, &Settings::new(r#"{"grade":"block"}"#)).is_err());
}
