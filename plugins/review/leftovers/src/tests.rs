//! Tables over lines of several languages.

use necro_sdk::review::change_of;

use super::*;

fn rules(path: &str, line: &str) -> Vec<String> {
    let diff = format!("--- a/{path}\n+++ b/{path}\n@@ -1,0 +7,1 @@\n+{line}\n");
    let found = Leftovers::review(&change_of("backend", &diff), &Settings::default()).unwrap();
    assert!(found.iter().all(|f| f.line == Some(7)));
    found.into_iter().map(|f| f.rule).collect()
}

#[test]
fn debugging_aids_are_found_by_language() {
    for (path, line, rule) in [
        ("src/a.rs", "    let x = dbg!(f(1));", DEBUGGER),
        ("src/a.rs", "    println!(\"DEBUG {x}\");", PRINT),
        ("web/a.ts", "  console.log(user);", PRINT),
        ("web/a.tsx", "  debugger;", DEBUGGER),
        ("a.py", "    breakpoint()", DEBUGGER),
        ("a.py", "import pdb; pdb.set_trace()", DEBUGGER),
        ("a.py", "    print(f\"DEBUG {x}\")", PRINT),
        ("a.rb", "  binding.pry", DEBUGGER),
        ("a.go", "\tspew.Dump(x)", DEBUGGER),
        ("A.java", "        e.printStackTrace();", PRINT),
        ("a.php", "var_dump($x);", DEBUGGER),
    ] {
        assert_eq!(rules(path, line), [rule], "{path} {line}");
    }
}

#[test]
fn notes_count_in_comments_and_in_capitals() {
    for (path, line) in [
        ("a.rs", "// TODO: bounds"),
        ("a.rs", "    f(); // FIXME(ann) later"),
        ("a.py", "x = 1  # XXX"),
        ("a.sql", "-- HACK"),
        ("a.html", "<!-- TODO -->"),
        ("a.js", " * TODO tell why"),
        ("a.sh", "# TODO"),
    ] {
        assert_eq!(rules(path, line), [TODO], "{path} {line}");
    }
}

#[test]
fn focused_tests_and_commented_conflicts_are_found() {
    for (path, line, rule) in [
        ("a.test.ts", "describe.only('x', () => {", FOCUS),
        ("a.spec.js", "  fit('works', () => {", FOCUS),
        ("a_test.go", "\tFIt(\"works\", func() {", FOCUS),
        ("a.rs", "// <<<<<<< HEAD", CONFLICT),
        ("a.py", "# >>>>>>> topic", CONFLICT),
    ] {
        assert_eq!(rules(path, line), [rule], "{path} {line}");
    }
}

#[test]
fn ordinary_lines_pass() {
    for (path, line) in [
        ("a.rs", "// the todo list of a user"),
        ("a.rs", "let todo = todos.first();"),
        ("a.rs", "const MARKS: &[&str] = &[\"TODO\", \"dbg!(\"];"),
        ("a.rs", "println!(\"{total}\");"),
        ("a.rs", "    let url = \"https://x/TODO\";"),
        ("a.md", "- TODO: in a list of Markdown"),
        ("a.json", "\"x\": \"TODO\""),
        ("a.py", "print(\"The total is\", total)"),
        ("a.py", "result = refit(model)"),
        ("a.ts", "benefit(user);"),
        ("a.ts", "const text = \"use console.log(x) to see\";"),
        ("a.go", "fmt.Println(total)"),
        ("a.php", "$this->add($x);"),
        ("a.sh", "printf '%s' \"$1\" | curl --data @-"),
        ("tests/print.test.ts", "console.log('in a test');"),
        ("a.rs", "/// ======="),
        ("a.rs", "fn f<'a>(x: &'a str) {} // it's fine"),
    ] {
        assert_eq!(rules(path, line), [""; 0], "{path} {line}");
    }
}

#[test]
fn what_was_there_before_or_goes_is_not_told() {
    let review = |diff: &str| Leftovers::review(&change_of("qa", diff), &Settings::default()).unwrap();
    assert_eq!(review("--- a/a.rs\n+++ b/a.rs\n-// TODO x\n+    // TODO x\n"), []);
    assert_eq!(review("--- a/a.rs\n+++ b/a.rs\n-dbg!(1);\n dbg!(2);\n"), []);
}

#[test]
fn paths_can_be_ignored_and_misspelt_settings_are_an_error() {
    let change = change_of("qa", "--- a/scripts/a.js\n+++ b/scripts/a.js\n+console.log(1)\n");
    assert_eq!(Leftovers::review(&change, &Settings::new(r#"{"ignore":["scripts/**"]}"#)).unwrap(), []);
    assert!(Leftovers::review(&change, &Settings::new(r#"{"ignored":[]}"#)).is_err());
}
