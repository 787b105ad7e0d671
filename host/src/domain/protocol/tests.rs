//! Properties of the protocol's names, the last word on branches being git's own.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::domain::id::{AttemptKey, Role, SpecName};

fn key(spec: &str, task: &str) -> TaskKey {
    TaskKey { spec: SpecName::new(spec).unwrap(), task: TaskId::new(task).unwrap() }
}

fn spirit(name: &str) -> Instance {
    Instance::new(name).unwrap()
}

/// Whether git takes all of them as branch names.
fn git_accepts(names: &[String]) {
    for name in names {
        #[expect(clippy::disallowed_methods, reason = "git itself has the last word on branch names")]
        let status = std::process::Command::new("git")
            .args(["check-ref-format", "--branch", name])
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "git refuses {name:?}");
    }
}

/// The rules of git-check-ref-format, so that thousands of names can be tried.
fn passes_ref_rules(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('-')
        && !name.ends_with('.')
        && !name.contains("..")
        && !name.contains("@{")
        && name != "@"
        && name.chars().all(|c| c > ' ' && c != '\u{7f}' && !"~^:?*[\\".contains(c))
        && name.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock"))
}

#[test]
fn slugs_read_like_this() {
    let rows = [
        ("Login Form", "login-form"),
        ("ログインフォームを作成", "ログインフォームを作成"),
        ("認証 API", "認証-api"),
        ("A..B  C//d", "a-b-c-d"),
        ("a/../b", "a-b"),
        ("end.", "end"),
        ("foo.lock", "foo-lock"),
        ("--force", "force"),
        ("add 2 things", "add-no2-things"),
        ("2.1 the parser", "no2-no1-the-parser"),
        ("fix parse_int for v1.2", "fix-parse-int-for-v1-no2"),
        ("cafe\u{301} か\u{3099}", "cafe\u{301}-か\u{3099}"),
        ("co\u{ad}operate", "cooperate"),
        ("हिन्दी में लिखें", "हिन्दी-में-लिखें"),
        ("ที่อยู่ผู้ใช้", "ที่อยู่ผู้ใช้"),
        ("வணக்கம்", "வணக்கம்"),
        ("ស្វាគមន៍", "ស្វាគមន៍"),
        ("السَّلامُ عليكم", "السَّلامُ-عليكم"),
        ("שָׁלוֹם עולם", "שָׁלוֹם-עולם"),
        ("Đăng nhập", "đăng-nhập"),
        ("Вход и регистрация", "вход-и-регистрация"),
        ("로그인 양식", "로그인-양식"),
        ("Ἀθῆναι", "ἀθῆναι"),
    ];
    for (title, expected) in rows {
        assert_eq!(slug(title), expected, "{title:?}");
    }
    for nothing in ["", "..", "!!!", "🎉🎉", "\0"] {
        assert!(slug(nothing).starts_with('h') && slug(nothing).len() == 9, "{nothing:?} → {}", slug(nothing));
    }
    assert_ne!(slug("!!!"), slug("???"));
}

#[test]
fn long_titles_are_cut_between_words_or_characters() {
    let english = slug(&"necromancy ".repeat(30));
    assert_eq!(english, "necromancy-necromancy-necromancy-necromancy-necromancy");
    let japanese = slug(&format!("api {}", "呪文".repeat(60)));
    assert!(japanese.len() <= MAX_SLUG_BYTES && japanese.len() > MAX_SLUG_BYTES - 3, "{japanese}");
    assert_eq!(slug(&"9".repeat(500)).len(), MAX_SLUG_BYTES);
    let word = "a".repeat(60);
    assert_eq!(slug(&format!("{word} 1認証")), word, "what is left of the last word would look like a number");
}

#[test]
fn the_branch_form_follows_the_number_of_live_spirits() {
    let key = key("chat-app", "2.1");
    let spirit = spirit("scrum_master_spirit_2");
    assert_eq!(task_branch(&key, "Login Form", &spirit, 1), "feature/task-chat-app-2.1-login-form");
    assert_eq!(task_branch(&key, "Login Form", &spirit, 2), "scrum_master/spirit-2/chat-app-2.1-login-form");
    assert_eq!(spec_branch(&key.spec), "necro/chat-app");
    assert_eq!(attempt_ref(&AttemptKey { key, attempt: 3 }), "refs/necro/chat-app/2.1/3");
    let alike = SpecName::new("rescue").unwrap();
    assert_eq!(attempts_prefix(&alike), "refs/necro/rescue+/", "rescued work is kept where it would be");
}

#[test]
fn branches_of_others_are_read_by_known_specs() {
    let known: Vec<SpecName> = ["app", "my-2-app", "app-2"].iter().map(|s| SpecName::new(*s).unwrap()).collect();
    let rows = [
        ("feature/task-my-2-app-3.1-add-2-things", Some(("my-2-app", "3.1", "add-2-things"))),
        ("feature/task-app-1-add-2-things", Some(("app", "1", "add-2-things"))),
        ("feature/task-app-2-3.1-x", Some(("app-2", "3.1", "x"))),
        ("feature/task-app-2-x", Some(("app", "2", "x"))),
        ("feature/task-other-1-x", None),
        ("feature/task-app-1", None),
        ("feature/task-app-1-", None),
        ("feature/task-app-1-x/y", None),
        ("backend/spirit-0/app-1-x", None),
        ("backend/spirit-1/app-1-x", Some(("app", "1", "x"))),
        ("main", None),
        ("", None),
    ];
    for (name, expected) in rows {
        let branch = parse_branch(name, &known).ok();
        let read = branch.as_ref().map(|b| (b.key.spec.as_str(), b.key.task.as_str(), b.slug.as_str()));
        assert_eq!(read, expected, "{name}");
    }
}

#[test]
fn git_accepts_the_hardest_names() {
    let long_spec = "s".repeat(100);
    let long_task = format!("{}.1a", "7".repeat(55));
    let titles = ["", "..", "-", "HEAD", "@{u}", "a.lock", "認証を作る", "\u{0}\n\t", "~^:?*[\\", "refs/heads/x", "🎉"];
    let mut names = Vec::new();
    for title in titles {
        names.push(slug(title));
        for (spec, task) in [("認証", "1"), (long_spec.as_str(), long_task.as_str()), ("v1.2_x", "3.1a")] {
            names.push(task_branch(&key(spec, task), title, &spirit("qa_spirit_1"), 1));
            names.push(task_branch(&key(spec, task), title, &spirit("qa_spirit_12"), 2));
            names.push(spec_branch(&key(spec, task).spec));
        }
    }
    git_accepts(&names);
    for name in &names {
        assert!(passes_ref_rules(name), "{name:?}");
        for part in name.split('/') {
            assert!(part.len() + ".lock".len() <= 255, "{part:?} is too long for a file name");
        }
    }
}

fn commit(spell: &str) -> Commit {
    let attempt = AttemptKey { key: key("chat-app", "2.1"), attempt: 1 };
    Commit::new("frontend", spell, attempt, spirit("frontend_spirit_2"), Some("login-ui"))
}

#[test]
fn a_commit_reads_like_this() {
    assert_eq!(
        commit("craft login form").message(),
        "spirit(frontend): craft login form [Task 2.1]\n\nSpec: chat-app\nTask: 2.1\nSpirit: frontend_spirit_2\n\
         Attempt: 1\nIssue: login-ui\n"
    );
    assert_eq!(commit("API first").spell(), "API first");
}

#[test]
fn a_spell_cannot_forge_trailers_or_hide_text() {
    let forged = commit("x\n\nTask: 9.9\r\nSpec: other [Task 9]\u{202e}\u{0}");
    assert_eq!(forged.subject(), "spirit(frontend): x Task: 9.9 Spec: other [Task 9] [Task 2.1]");
    assert_eq!(parse_commit(&forged.message()), Ok(forged));
    assert_eq!(commit(" \n ").spell(), "do the task");
    let long = commit(&"many words ".repeat(100_000));
    assert_eq!(long.subject().chars().count(), MAX_SUBJECT_CHARS);
    assert!(long.subject().ends_with("… [Task 2.1]"), "{}", long.subject());
}

#[test]
fn messages_of_others_are_refused_with_the_reason() {
    let trailers = "Spec: a\nTask: 1\nSpirit: qa_spirit_1\nAttempt: 1";
    let rows = [
        (format!("feat: x [Task 1]\n\n{trailers}"), InvalidCommit::Subject),
        (format!("spirit(a): x\n\n{trailers}"), InvalidCommit::Subject),
        (format!("spirit(a):  [Task 1]\n\n{trailers}"), InvalidCommit::Subject),
        ("spirit(a): x [Task 1]".to_owned(), InvalidCommit::Trailer { name: "Task" }),
        (
            format!("spirit(a): x [Task 2]\n\n{trailers}"),
            InvalidCommit::TwoTasks { subject: TaskId::new("2").unwrap(), trailer: TaskId::new("1").unwrap() },
        ),
        ("spirit(a): x [Task 1]\n\nTask: 1\nSpec: a/b".to_owned(), InvalidCommit::Trailer { name: "Spec" }),
        (format!("spirit(a): x [Task 1]\n\n{trailers}\n\nsome prose"), InvalidCommit::Trailer { name: "Task" }),
    ];
    for (message, expected) in rows {
        assert_eq!(parse_commit(&message), Err(expected), "{message}");
    }
    let more = format!("spirit(a): x [Task 1]\n\nprose: here\n\nCo-authored-by: x\n{trailers}\n");
    assert_eq!(parse_commit(&more).map(|c| c.attempt().attempt), Ok(1));
}

#[test]
fn the_scope_is_the_shared_directory_or_the_role() {
    let role = Role::new("scrum_master").unwrap();
    let rows: [(&[&str], &str); 8] = [
        (&[], "scrum-master"),
        (&["README.md"], "scrum-master"),
        (&["src/lib.rs", "src/main.rs"], "scrum-master"),
        (&["crates/parser/src/lib.rs", "crates/parser/Cargo.toml"], "parser"),
        (&["docs/a.md", "src/lib.rs"], "scrum-master"),
        (&["docs/a/b.md", "docs/c.md"], "docs"),
        (&["web/画面/index.ts"], "画面"),
        (&["a)b: c/x.rs"], "a-b-c"),
    ];
    for (paths, expected) in rows {
        assert_eq!(scope(&role, paths.iter().copied()), expected, "{paths:?}");
    }
}

#[test]
fn an_assignment_has_the_seeds_wire_form() {
    let message = issue_assignment(
        &key("chat-app", "2.1"),
        &spirit("frontend_spirit_2"),
        Some("login-ui"),
        &[TaskId::new("1.1").unwrap()],
        "extracts",
    );
    assert_eq!(
        serde_json::to_value(message).unwrap(),
        serde_json::json!({
            "type": "issue_assignment",
            "agent_instance": "frontend_spirit_2",
            "issue_id": "login-ui",
            "payload": { "task": "2.1", "dependencies": ["1.1"], "context": "extracts" },
            "spec_id": "chat-app",
            "task_id": "2.1",
        })
    );
}

/// Spec names that are made to collide.
fn spec() -> impl Strategy<Value = SpecName> {
    "([a認]|1|2\\.1|3b)([-_][a認]|-1|-2\\.1|-3b){0,3}".prop_filter_map("grammar", |s| SpecName::new(s).ok())
}

fn task() -> impl Strategy<Value = TaskId> {
    "[0-9]{1,2}(\\.[0-9]{1,2}){0,2}[a-z]?".prop_map(|t| TaskId::new(t).unwrap())
}

fn title() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "([0-9]{1,3}[a-z]?[ .-]|[a-z]{1,4} ?|認証 ?){0,12}", ".{0,200}"]
}

proptest! {
    // Each case starts git three times.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn git_itself_accepts_every_name(
        title in title(), spec in spec(), task in task(), n in 1..30_u32, live in 0..4_usize,
    ) {
        let key = TaskKey { spec, task };
        let spirit = Instance::of(&Role::new("scrum_master").unwrap(), n);
        git_accepts(&[slug(&title), task_branch(&key, &title, &spirit, live), spec_branch(&key.spec)]);
    }
}

proptest! {
    #[test]
    fn slugs_are_valid_idempotent_and_bounded(title in title()) {
        let once = slug(&title);
        prop_assert!(passes_ref_rules(&once), "{:?}", once);
        prop_assert!(once.len() <= MAX_SLUG_BYTES);
        prop_assert_eq!(slug(&once), once.clone());
        prop_assert!(once.split('-').all(|word| TaskId::new(word).is_err()), "{}", once);
        let first_word: String = title.chars().take_while(|c| c.is_alphabetic()).take(10).collect();
        let lower = first_word.to_lowercase();
        // `to_lowercase` of a whole word knows the final sigma, and one letter may become several.
        if lower.chars().all(char::is_alphabetic) && !first_word.contains('Σ') {
            prop_assert!(once.starts_with(&lower), "{} lost {}", once, lower);
        }
    }

    #[test]
    fn a_branch_can_be_read_back_whatever_specs_there_are(
        specs in prop::collection::vec(spec(), 1..6), task in task(), title in title(), n in 1..30_u32, live in 0..4_usize,
    ) {
        let key = TaskKey { spec: specs[0].clone(), task };
        // A spec whose name swallows the number, and one that swallows the slug's first word as well.
        let mut specs = specs;
        let longer = format!("{}-{}", key.spec, key.task);
        specs.extend(SpecName::new(format!("{longer}-{}", slug(&title).split('-').next().unwrap())).ok());
        specs.extend(SpecName::new(longer).ok());
        let spirit = Instance::of(&Role::new("scrum_master").unwrap(), n);
        let name = task_branch(&key, &title, &spirit, live);
        prop_assert!(passes_ref_rules(&name), "{:?}", name);
        let branch = parse_branch(&name, &specs).unwrap();
        prop_assert_eq!(branch.key, key);
        prop_assert_eq!(branch.instance, (live >= 2).then_some(spirit));
        prop_assert_eq!(branch.slug, slug(&title));
    }

    #[test]
    fn two_tasks_never_share_a_branch(
        // Few words, so that the same ones meet as spec, number and slug.
        rows in prop::collection::vec(("a(-[12]){0,2}", "[12]", "([12] ){0,2}a?"), 2..40),
    ) {
        let mut seen: HashMap<String, TaskKey> = HashMap::new();
        for (spec, task, title) in rows {
            let key = key(&spec, &task);
            let name = task_branch(&key, &title, &spirit("qa_spirit_1"), 1);
            let first = seen.entry(name.clone()).or_insert_with(|| key.clone());
            prop_assert_eq!(&*first, &key, "both have {}", name);
        }
    }

    #[test]
    fn a_commit_can_be_read_back(
        scope in title(), spell in title(), spec in spec(), task in task(), attempt in 1..9_u32, issue in prop::option::of(title()),
    ) {
        let attempt = AttemptKey { key: TaskKey { spec, task }, attempt };
        let commit = Commit::new(&scope, &spell, attempt, spirit("qa_spirit_3"), issue.as_deref());
        let message = commit.message();
        prop_assert_eq!(parse_commit(&message), Ok(commit.clone()));
        prop_assert!(commit.subject().chars().count() <= MAX_SUBJECT_CHARS);
        prop_assert_eq!(message.lines().count(), 6 + usize::from(commit.issue().is_some()));
        prop_assert!(!message.chars().any(|c| c.is_control() && c != '\n'));
    }

    #[test]
    fn the_spell_keeps_its_first_letter(spell in "[A-Z][A-Za-z]{0,10}( [a-z]{1,5}){0,3}") {
        let made = commit(&spell);
        prop_assert_eq!(made.spell(), spell);
    }
}
