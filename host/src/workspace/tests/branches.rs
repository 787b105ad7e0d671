//! Branches in the way of a task's branch.

use super::*;
use crate::domain::id::TaskKey;

#[tokio::test]
async fn a_branch_in_the_way_of_a_task_is_named_before_work_begins() {
    let fixture = Fixture::new().await;
    let repository = Repository::open(fixture.user()).unwrap();
    let head = repository.head().unwrap().peel_to_commit().unwrap();
    let key: TaskKey = TaskKey { spec: "app".parse().unwrap(), task: "1".parse().unwrap() };
    let wanted = "feature/task-app-1-login";
    let refused = async |branches: &[&str], folds: bool| {
        repository.config().unwrap().set_bool("core.ignorecase", folds).unwrap();
        for branch in branches {
            repository.branch(branch, &head, false).unwrap();
        }
        let mirror = fixture.mirror().await;
        let found = mirror.check_task_branch(wanted, &key).await;
        for branch in branches {
            repository.find_branch(branch, git2::BranchType::Local).unwrap().delete().unwrap();
        }
        found
    };
    assert!(refused(&["feature/task-app-1", "features", "Feature/x"], false).await.is_ok());
    assert!(matches!(refused(&["feature"], false).await, Err(SourceError::BranchInTheWay { .. })));
    let below = format!("{wanted}/more");
    assert!(matches!(refused(&[&below], false).await, Err(SourceError::BranchInTheWay { .. })));
    let upper = "feature/task-app-1-Login";
    assert!(refused(&[upper], false).await.is_ok());
    assert!(matches!(refused(&[upper], true).await, Err(SourceError::BranchDiffersByCase { .. })));
    assert!(matches!(refused(&[wanted], false).await, Err(SourceError::BranchTaken { .. })));
    // The work of this very task is in nobody's way.
    let (mirror, tip) = (fixture.mirror().await, CommitId::new(head.id().to_string()).unwrap());
    mirror.objects(move |o| o.update_ref("refs/necro/app/1/1", &tip, None)).await.unwrap();
    assert!(refused(&[wanted], false).await.is_ok());
}
