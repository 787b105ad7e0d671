//! What the integration queue needs of a mirror: commits made again elsewhere, and trees that were green.

use super::*;

async fn writes(mirror: &Mirror, on: &CommitId, path: &str, text: &str) -> CommitId {
    let tree = tree_of(mirror, on).await;
    let files = vec![(path.to_owned(), Some(text.as_bytes().to_vec()))];
    let tree = mirror.objects(move |o| o.with_files(&tree, &files)).await.unwrap();
    commit(mirror, &tree, &[on], path).await
}

#[tokio::test]
async fn a_pick_brings_what_one_commit_did_and_nothing_of_what_it_stands_on() {
    let fixture = Fixture::new().await;
    let mirror = fixture.mirror().await;
    let base = mirror.branch_tip("main").await.unwrap().unwrap();
    let below = writes(&mirror, &base, "below.txt", "1\n").await;
    let wanted = writes(&mirror, &below, "wanted.txt", "1\n").await;
    let other = writes(&mirror, &base, "other.txt", "1\n").await;
    let MergeOutcome::Clean { tree } = mirror.pick(&other, &wanted).await.unwrap() else { panic!("it conflicts") };
    for (path, there) in [("wanted.txt", true), ("other.txt", true), ("README.md", true), ("below.txt", false)] {
        assert_eq!(read(&mirror, &tree, path).await.is_some(), there, "{path}");
    }
    let rival = writes(&mirror, &base, "wanted.txt", "2\n").await;
    let MergeOutcome::Conflict { files, text } = mirror.pick(&rival, &wanted).await.unwrap() else {
        panic!("two contents are no conflict")
    };
    assert_eq!(files, ["wanted.txt"]);
    assert!(text.contains("1\n") && text.contains("2\n"), "{text}");
    // The first commit of all has no parent.
    assert!(matches!(mirror.pick(&other, &base).await.unwrap(), MergeOutcome::Clean { .. }));
}

#[tokio::test]
async fn a_tree_is_known_to_one_gate_only_and_the_oldest_are_forgotten() {
    let fixture = Fixture::new().await;
    let mirror = fixture.mirror().await;
    assert!(mirror.gated("one").await.unwrap().is_empty());
    let tree = |n: u32| TreeId::new(format!("{n:040x}")).unwrap();
    mirror.note_gated("one", &tree(1)).await.unwrap();
    mirror.note_gated("two", &tree(2)).await.unwrap();
    mirror.note_gated("one", &tree(1)).await.unwrap();
    assert_eq!(mirror.gated("one").await.unwrap(), [tree(1)].into());
    let again = fixture.mirror().await;
    assert_eq!(again.gated("two").await.unwrap(), [tree(2)].into(), "the next process knows as well");

    let file = mirror.dir().join("gated");
    let lines: String = (10..1_300).map(|n| format!("one {}\n", tree(n))).collect();
    fs::write(&file, format!("{lines}no line of ours\none xyz\n")).unwrap();
    mirror.note_gated("one", &tree(5)).await.unwrap();
    let known = mirror.gated("one").await.unwrap();
    assert!(known.contains(&tree(5)) && known.contains(&tree(1_299)) && !known.contains(&tree(10)));
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 1_000);
    fs::remove_file(&file).unwrap();
    assert!(mirror.gated("one").await.unwrap().is_empty(), "without the file nothing is known, and nothing fails");
}
