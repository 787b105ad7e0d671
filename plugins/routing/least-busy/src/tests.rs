//! Tables over texts, labels and candidates.

use necro_sdk::routing::word_scores;

use super::*;

fn issue(title: &str, text: &str, labels: &[&str]) -> Issue {
    Issue {
        id: "1".into(),
        title: title.into(),
        text: text.into(),
        labels: labels.iter().map(|l| (*l).to_owned()).collect(),
        priority: 0,
    }
}

fn candidate(instance: &str, load: u32) -> Candidate {
    let (role, _) = instance.split_once("_spirit_").unwrap();
    Candidate {
        instance: instance.into(),
        role: role.into(),
        skills: Vec::new(),
        load,
        capacity: 2,
        last_assigned: 0,
        price_microusd: None,
    }
}

fn team() -> Vec<Candidate> {
    ["frontend", "backend", "database", "qa", "devops", "architect", "documentation", "scrum_master"]
        .iter()
        .map(|role| candidate(&format!("{role}_spirit_1"), 0))
        .collect()
}

fn route(issue: &Issue, candidates: &[Candidate]) -> Decision {
    LeastBusy::route(issue, candidates, &Settings::default(), "").unwrap()
}

fn chosen(text: &str, labels: &[&str]) -> String {
    route(&issue(text, "", labels), &team()).instance
}

#[test]
fn words_name_the_role() {
    for (text, role) in [
        ("Craft the login form", "frontend"),
        ("Add a REST endpoint for messages", "backend"),
        ("Write a migration for the users table", "database"),
        ("Raise the coverage of the parser", "qa"),
        ("Write auth tests for the test suite", "qa"),
        ("Require a quick build", "devops"),
        ("Create docker containers", "devops"),
        ("Choose the tech stack", "architect"),
        ("Rewrite the README", "documentation"),
        ("ログイン画面のボタンを作る", "frontend"),
        ("APIサーバーを作る", "backend"),
        ("テーブルのスキーマを変える", "database"),
        ("テストケースを追加する", "qa"),
        ("本番環境へデプロイする", "devops"),
        ("システム設計を決める", "architect"),
        ("マニュアルを整理する", "documentation"),
        ("Say hello", "scrum_master"),
        ("", "scrum_master"),
    ] {
        assert_eq!(chosen(text, &[]), format!("{role}_spirit_1"), "{text:?}");
    }
}

#[test]
fn latin_words_count_only_whole() {
    for text in ["suite", "require", "quick", "inform", "formset", "docker", "restore", "apiary", "my_table", "formé"]
    {
        let found = word_scores(text);
        assert!(!found.iter().any(|s| ["frontend", "backend", "database"].contains(&s.role.as_str())), "{text}");
    }
    assert_eq!(word_scores("UI, (forms) and css-classes")[0].matched, ["ui", "css", "form"].map(String::from));
}

#[test]
fn a_concept_counts_once_and_a_phrase_uses_up_its_words() {
    let points = |text: &str, role: &str| word_scores(text).iter().find(|s| s.role == role).map(|s| s.points);
    assert_eq!(points("test tests testing テスト", "qa"), Some(1.0));
    assert_eq!(points("a unit test", "qa"), Some(1.0));
    assert_eq!(points("a unit test, a test", "qa"), Some(2.0));
    assert_eq!(points("technical design", "architect"), Some(1.0));
    assert_eq!(points("統合テスト", "qa"), Some(1.0));
    assert_eq!(points("統合テスト", "documentation"), None);
    assert_eq!(points("クロスリファレンス", "documentation"), Some(1.0));
    assert_eq!(points("cross-reference", "documentation"), Some(1.0));
    assert_eq!(points("nosql", "database"), Some(1.0));
}

#[test]
fn labels_beat_words() {
    for (labels, role) in [
        (&["database"][..], "database"),
        (&["skill:QA"], "qa"),
        (&["scrum-master"], "scrum_master"),
        (&["urgent", "role: devops"], "devops"),
        (&["urgent"], "frontend"),
    ] {
        assert_eq!(chosen("button form page css html", labels), format!("{role}_spirit_1"), "{labels:?}");
    }
}

#[test]
fn a_label_may_name_a_skill_and_prefers_who_has_it() {
    let mut candidates = team();
    candidates.push(Candidate { skills: vec!["Payment".into()], ..candidate("backend_spirit_2", 1) });
    assert_eq!(route(&issue("button", "", &["payment"]), &candidates).instance, "backend_spirit_2");
}

#[test]
fn the_least_busy_takes_it_and_the_lower_number_decides() {
    let pick = |loads: &[(u32, u32)]| {
        let candidates: Vec<Candidate> = loads.iter().map(|(n, l)| candidate(&format!("qa_spirit_{n}"), *l)).collect();
        route(&issue("test", "", &[]), &candidates).instance
    };
    assert_eq!(pick(&[(1, 1), (2, 0)]), "qa_spirit_2");
    assert_eq!(pick(&[(10, 0), (9, 0)]), "qa_spirit_9");
    assert_eq!(pick(&[(1, 2), (2, 2)]), "qa_spirit_1");
}

#[test]
fn a_role_without_instance_gives_way_to_the_next() {
    let text = issue("schema migration table for the api", "", &[]);
    let only = |names: &[&str]| -> Vec<Candidate> { names.iter().map(|n| candidate(n, 0)).collect() };
    for (names, expected) in [
        (&["backend_spirit_1", "scrum_master_spirit_1"][..], "backend_spirit_1"),
        (&["qa_spirit_1", "scrum_master_spirit_1"], "scrum_master_spirit_1"),
        (&["qa_spirit_2", "devops_spirit_1"], "devops_spirit_1"),
    ] {
        assert_eq!(route(&text, &only(names)).instance, expected);
    }
    let nobody = LeastBusy::route(&text, &[], &Settings::default(), "");
    assert!(matches!(nobody, Err(Failure::Invalid(_))));
}

#[test]
fn the_decision_tells_scores_and_reason() {
    let decision = route(&issue("Add a table", "and an API", &[]), &team());
    let table: Vec<(&str, f64)> = decision.scores.iter().map(|s| (s.role.as_str(), s.points)).collect();
    assert_eq!(table, [("backend", 1.0), ("database", 1.0)]);
    assert_eq!(decision.reason, "role backend by 1 point (api); backend_spirit_1 has 0 running, the least of 1");
}
