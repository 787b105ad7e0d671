//! The backlog.

use super::*;
use crate::domain::id::{IssueId, Role};
use crate::domain::issue::{IssueStatus, NewIssue, Urgency};
use crate::registry::Routed;

fn issue(title: &str) -> NewIssue {
    NewIssue {
        title: title.to_owned(),
        text: "more".to_owned(),
        labels: vec!["ui".to_owned()],
        priority: Urgency::High,
    }
}

fn routed() -> Routed {
    let role = Role::new("backend").unwrap();
    Routed { instance: spirit(), role, reason: "by its label".to_owned(), routing: None }
}

#[tokio::test]
async fn an_issue_goes_from_open_over_a_role_to_a_task() {
    let fixture = Fixture::new();
    fixture.create(vec![define("1", &[])]).await;
    let first = fixture.registry.add_issue(issue("Slow login")).await.unwrap();
    let second = fixture.registry.add_issue(issue("Typo")).await.unwrap();
    assert_eq!((first.id.as_str(), second.id.as_str()), ("ISSUE-001", "ISSUE-002"));
    assert_eq!((first.status, first.said.clone()), (IssueStatus::Open, issue("Slow login")));
    let assigned = fixture.registry.route_issue(&first.id, routed()).await.unwrap();
    assert_eq!((assigned.status, assigned.instance, assigned.version), (IssueStatus::Assigned, Some(spirit()), 2));
    let taken = fixture.registry.take_issue(&first.id, &key("1")).await.unwrap();
    assert_eq!((taken.status, taken.task), (IssueStatus::Assigned, Some(key("1"))));
    let status = async || {
        let id = first.id.clone();
        fixture.registry.read(move |r| r.issue(&id)).await.unwrap().unwrap().status
    };
    fixture.claim("1").await.unwrap();
    assert_eq!(status().await, IssueStatus::InProgress);
    let done = crate::domain::event::Body::TaskCompleted { commit: None, reason: "merged".to_owned() };
    fixture.registry.transition(None, &key("1"), 2, Some(1), done).await.unwrap();
    assert_eq!(status().await, IssueStatus::Completed);
    fixture.registry.close_issue(&second.id, "no typo".to_owned()).await.unwrap();
    let all = fixture.registry.read(|r| r.issues(0)).await.unwrap();
    assert!(all.iter().all(|issue| issue.status == IssueStatus::Completed), "{all:?}");
    fixture.verified().await;
}

#[tokio::test]
async fn what_is_settled_or_unknown_or_no_issue_is_refused() {
    let fixture = Fixture::new();
    let registry = &fixture.registry;
    for bad in [issue(" "), issue("a\nb"), NewIssue { labels: vec![String::new()], ..issue("a") }] {
        let refused = registry.add_issue(bad).await.unwrap_err();
        assert!(matches!(refused, RegistryError::InvalidIssue(_)), "{refused}");
    }
    let missing = IssueId::numbered(7);
    let refused = registry.route_issue(&missing, routed()).await.unwrap_err();
    assert!(matches!(refused, RegistryError::UnknownIssue(_)), "{refused}");
    let added = registry.add_issue(issue("a")).await.unwrap();
    let refused = registry.take_issue(&added.id, &key("9")).await.unwrap_err();
    assert!(matches!(refused, RegistryError::UnknownTask(_)), "{refused}");
    registry.close_issue(&added.id, "done elsewhere".to_owned()).await.unwrap();
    let refused = registry.route_issue(&added.id, routed()).await.unwrap_err();
    assert!(matches!(refused, RegistryError::SettledIssue { .. }), "{refused}");
    fixture.verified().await;
}
