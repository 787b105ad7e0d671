//! Jobs in two languages, and teams for plans of different shapes.

use proptest::prelude::*;

use super::*;

fn names(roles: &[Role]) -> Vec<&str> {
    roles.iter().map(Role::as_str).collect()
}

#[test]
fn jobs_name_features_and_roles_in_both_languages() {
    use Feature::{Authentication, Infrastructure, InternetOfThings, RealTime, Visualisation};
    let rows: [(&str, &[Feature], &[&str]); 9] = [
        ("Add login to the app", &[Authentication], &["backend", "database", "frontend", "qa"]),
        ("認証機能を作成する", &[Authentication], &["backend", "database", "frontend", "qa"]),
        ("A real-time view over WebSockets", &[RealTime], &["backend", "frontend", "qa"]),
        ("リアルタイムのダッシュボード", &[RealTime, Visualisation], &["backend", "database", "frontend", "qa"]),
        ("Read the sensor's values", &[InternetOfThings], &["backend", "database"]),
        ("Dockerで動かす。docker", &[Infrastructure], &["devops"]),
        ("REST APIの追加", &[], &["backend"]),
        ("Write the README and tests", &[], &["documentation", "qa"]),
        ("Rename a function", &[], &["backend", "qa"]),
    ];
    for (job, features, roles) in rows {
        let profile = profile(job);
        assert_eq!(profile.features, features, "{job}");
        assert_eq!(names(&profile.roles)[2..], *roles, "{job}");
        assert_eq!(names(&profile.roles)[..2], [ARCHITECT, SCRUM_MASTER]);
    }
}

#[test]
fn latin_words_count_only_whole() {
    // suite, require: ui; author: auth; nosqlite: sql; decide: ci; contest: test.
    let roles = profile("The author's suite requires nosqlite; decide the contest. Über-çi").roles;
    assert_eq!(names(&roles), [ARCHITECT, SCRUM_MASTER, "backend", "qa"]);
}

#[test]
fn the_language_is_that_of_the_text() {
    let rows = [
        ("", Language::English),
        ("Add a login page", Language::English),
        ("電卓に割り算を追加する", Language::Japanese),
        ("calculatorクレートにdivide関数を追加し、テストを書く", Language::Japanese),
        ("添加登录页面", Language::English),
        ("Translate the word \"こ\" in this rather long English sentence about a page", Language::English),
    ];
    for (text, language) in rows {
        assert_eq!(Language::of(text), language, "{text}");
    }
}

fn info(role: &str, skills: &[&str]) -> RoleInfo {
    RoleInfo {
        role: Role::new(role).unwrap(),
        title: role.to_owned(),
        skills: skills.iter().map(|&s| s.to_owned()).collect(),
    }
}

fn installed() -> Vec<RoleInfo> {
    vec![
        info("architect", &["design"]),
        info("scrum_master", &["planning"]),
        info("backend", &["rust", "API"]),
        info("qa", &["testing"]),
    ]
}

fn task(id: &str, depends: &[&str], skill: Option<&str>) -> TaskDefinition {
    TaskDefinition {
        id: TaskId::new(id).unwrap(),
        title: String::new(),
        text: String::new(),
        optional: false,
        done: false,
        depends: depends.iter().map(|d| TaskId::new(*d).unwrap()).collect(),
        skill: skill.map(str::to_owned),
        requirements: Vec::new(),
        priority: 0,
        metadata: std::collections::BTreeMap::new(),
        parent: None,
        container: false,
    }
}

fn team_of(tasks: &[TaskDefinition], fixed: &[(&str, u32)], max_parallel: u32) -> Vec<String> {
    let fixed = fixed.iter().map(|(role, n)| (Role::new(*role).unwrap(), *n)).collect();
    team(tasks, &installed(), &fixed, max_parallel).unwrap().iter().map(Instance::to_string).collect()
}

#[test]
fn skills_are_roles_or_belong_to_one() {
    let roles = installed();
    let rows = [
        ("Scrum Master", Some("scrum_master")),
        ("scrum-master", Some("scrum_master")),
        (" Backend ", Some("backend")),
        ("api", Some("backend")),
        ("Testing", Some("qa")),
        ("painting", None),
    ];
    for (skill, role) in rows {
        assert_eq!(role_of_skill(skill, &roles).map(Role::as_str), role, "{skill}");
    }
}

#[test]
fn a_wide_plan_gets_several_spirits_of_a_role() {
    let backend = Some("backend");
    let chain = [task("1", &[], backend), task("2", &["1"], backend), task("3", &["2"], Some("qa"))];
    assert_eq!(team_of(&chain, &[], 8), ["backend_spirit_1", "qa_spirit_1", "scrum_master_spirit_1"]);
    let wide =
        [task("1", &[], backend), task("2", &[], backend), task("3", &[], Some("rust")), task("4", &["1"], backend)];
    assert_eq!(team_of(&wide, &[], 8).iter().filter(|s| s.starts_with("backend")).count(), 3);
    assert_eq!(team_of(&wide, &[], 2).iter().filter(|s| s.starts_with("backend")).count(), 2);
    assert_eq!(team_of(&wide, &[("backend", 5), ("scrum_master", 0)], 2).len(), 5);
}

#[test]
fn done_tasks_and_containers_need_nobody() {
    let mut tasks = [task("1", &["1.1"], Some("qa")), task("1.1", &[], Some("backend")), task("2", &[], None)];
    tasks[0].container = true;
    tasks[1].done = true;
    tasks[2].done = true;
    assert_eq!(team_of(&tasks, &[], 4), ["scrum_master_spirit_1"]);
}

#[test]
fn tasks_without_a_skill_may_be_anybodys_who_implements() {
    let tasks = [task("1", &[], None), task("2", &[], Some("painting"))];
    assert_eq!(
        team_of(&tasks, &[], 4),
        ["backend_spirit_1", "backend_spirit_2", "qa_spirit_1", "qa_spirit_2", "scrum_master_spirit_1"]
    );
}

proptest! {
    #[test]
    fn no_job_makes_the_profile_panic(job in any::<String>()) {
        let profile = profile(&job);
        prop_assert!(profile.roles.len() >= 3);
    }

    #[test]
    fn everyone_needed_is_there_and_nobody_else(
        skills in prop::collection::vec(prop::sample::select(vec!["backend", "qa", "scrum_master", "architect"]), 1..20),
        max_parallel in 1..6_u32,
    ) {
        let tasks: Vec<TaskDefinition> =
            skills.iter().enumerate().map(|(n, skill)| task(&n.to_string(), &[], Some(skill))).collect();
        let team = team_of(&tasks, &[], max_parallel);
        for role in ["backend", "qa", "scrum_master", "architect"] {
            let needed = skills.iter().filter(|s| **s == role).count();
            let expected = needed.min(max_parallel as usize).max(usize::from(role == SCRUM_MASTER));
            let found = team.iter().filter(|s| s.starts_with(&format!("{role}_spirit_"))).count();
            prop_assert_eq!(found, expected);
        }
    }
}
