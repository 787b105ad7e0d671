//! Swaps in an office of its own: real components, a real registry, no run.

use super::*;
use crate::clock::ManualClock;
use crate::domain::limits::LimitSettings;
use crate::plugin::PluginKind;
use crate::registry::Registry;
use crate::service::plugins::lock::{Granted, LockFile};
use crate::service::plugins::seat::by_default;

/// An office over a registry in a folder, with another component of each policy beside it.
struct Fixture {
    dir: tempfile::TempDir,
    office: Office,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at("2026-01-02T03:04:05Z".parse().unwrap()));
        let blobs = BlobStore::open(dir.path().join("blobs")).unwrap();
        let registry = Registry::open(&dir.path().join("registry.db"), clock, blobs).unwrap();
        let mut office = Office::quiet(None, registry);
        let (root, state) = (dir.path().to_owned(), dir.path().to_owned());
        office.ground = Arc::new(Ground { config: Config::default(), root, state });
        Self { dir, office }
    }

    /// The built-in component of this name as another one: its bytes end with a section that says nothing.
    fn other(&self, kind: PluginKind, name: &str, mark: u8) -> (PathBuf, Digest) {
        let bytes = [builtin::find(kind, name).unwrap().bytes, &[0, 3, 1, mark, 0][..]].concat();
        let folder = self.dir.path().join(char::from(mark).to_string());
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{name}.wasm"));
        std::fs::write(&path, &bytes).unwrap();
        (path, digest_of(&bytes))
    }

    /// Grants a component what its kind works with.
    fn grant(&self, kind: PluginKind, digest: &Digest) {
        let granted = Granted {
            plugin: "mine".to_owned(),
            digest: digest.clone(),
            limits: LimitSettings::default(),
            interfaces: by_default(kind),
        };
        LockFile::edit(&self.office.ground.root, |lock| {
            lock.grant(granted.clone());
            Ok(())
        })
        .unwrap();
    }

    async fn swap(&self, kind: PluginKind, file: (PathBuf, Digest)) -> Result<SeatChanged, ServiceError> {
        let source = SwapSource::File { path: file.0, digest: file.1 };
        let swap = Swap { kind, source, max_changed: None, last: None };
        make(&self.office, SeatChange::Swap(swap)).await
    }

    async fn back(&self, seat: &str, to: Option<&str>) -> Result<SeatChanged, ServiceError> {
        let rollback = Rollback { seat: seat.to_owned(), to: to.map(str::to_owned) };
        make(&self.office, SeatChange::Rollback(rollback)).await
    }

    async fn digests(&self) -> std::collections::BTreeMap<String, Digest> {
        self.office.seats().await.unwrap().now().digests()
    }
}

fn refused(result: Result<SeatChanged, ServiceError>) -> String {
    match result {
        Err(ServiceError::Usage(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_seat_can_be_swapped_and_go_back_one_by_one() {
    let fixture = Fixture::new();
    let before = fixture.digests().await;
    for (kind, name, seat, key) in [
        (PluginKind::Routing, "least-busy", "routing", "routing/least-busy"),
        (PluginKind::Scheduling, "priority", "scheduling", "scheduling/priority"),
        (PluginKind::Spirit, "backend", "spirit/backend", "spirit/backend"),
        (PluginKind::Review, "diff-size", "review/diff-size", "review/diff-size"),
    ] {
        let (first, second) = (fixture.other(kind, name, b'x'), fixture.other(kind, name, b'y'));
        let digests = (first.1.clone(), second.1.clone());
        if kind == PluginKind::Spirit {
            let asks = refused(fixture.swap(kind, first.clone()).await);
            assert!(asks.contains("necro-host plugin grant") && asks.contains("--all"), "{asks}");
        }
        fixture.grant(kind, &digests.0);
        fixture.grant(kind, &digests.1);
        let changed = fixture.swap(kind, first).await.unwrap();
        assert_eq!((changed.seat.as_str(), changed.refused.as_ref()), (seat, None));
        assert_eq!(changed.replaces.as_ref().map(|replaced| &replaced.digest), before.get(key));
        assert_eq!(changed.shadow.is_none(), kind == PluginKind::Spirit);
        fixture.swap(kind, second).await.unwrap();
        let sits = async |digest: &Digest| fixture.digests().await.values().any(|sitting| sitting == digest);
        assert!(sits(&digests.1).await && !sits(&digests.0).await, "{seat}");
        fixture.back(seat, None).await.unwrap();
        assert!(sits(&digests.0).await && !sits(&digests.1).await, "{seat}");
        let back = fixture.back(seat, None).await.unwrap();
        assert_eq!(back.by, SeatedBy::Rollback);
        assert_eq!(fixture.digests().await, before, "{seat}");
        assert!(refused(fixture.back(seat, None).await).contains("nobody sat in"));
        let again = fixture.back(seat, Some(digests.1.as_str().get(..9).unwrap())).await.unwrap();
        assert_eq!(again.component.digest, digests.1);
        fixture.back(seat, None).await.unwrap();
        assert_eq!(fixture.digests().await, before, "{seat}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_refused_changes_nothing_and_whoever_works_keeps_its_set() {
    let fixture = Fixture::new();
    let before = fixture.digests().await;
    let kept = fixture.office.seats().await.unwrap().now();
    let (path, digest) = fixture.other(PluginKind::Routing, "least-busy", b'x');
    let named = |name: &str| {
        let source = SwapSource::Named { name: name.to_owned() };
        SeatChange::Swap(Swap { kind: PluginKind::Routing, source, max_changed: None, last: None })
    };
    for (what, said) in [
        (fixture.swap(PluginKind::Routing, (path.clone(), digest_of(b"other"))).await, "is another file by now"),
        (fixture.swap(PluginKind::Routing, (path.with_extension("gone"), digest.clone())).await, "no plugin file"),
        (make(&fixture.office, named("nobody")).await, "no built-in or installed routing plugin `nobody`"),
        (make(&fixture.office, named("least-busy")).await, "this very component already"),
        (fixture.back("routing", None).await, "nothing was seated in `routing` yet"),
        (fixture.back("nonsense", Some("ab")).await, "nothing was seated in `nonsense` yet"),
    ] {
        let text = refused(what);
        assert!(text.contains(said), "{text}");
    }
    let wrong = fixture.swap(PluginKind::Scheduling, (path.clone(), digest.clone())).await;
    assert!(matches!(wrong, Err(ServiceError::Plugin(_))), "{wrong:?}");
    assert_eq!(fixture.digests().await, before);
    assert!(fixture.office.registry().read(|reader| reader.seatings()).await.unwrap().is_empty());
    fixture.swap(PluginKind::Routing, (path, digest.clone())).await.unwrap();
    assert_eq!(kept.digests(), before);
    assert_eq!(fixture.office.seats().await.unwrap().now().routing.plugin.digest, digest);
    assert!(fixture.office.registry().blobs().contains(&digest));
}

#[test]
fn a_digests_beginning_has_to_mean_one_component() {
    let component = |name: &str| Component { name: name.to_owned(), digest: digest_of(name.as_bytes()) };
    let known = [component("one"), component("two")];
    let seat = Seat::new("routing", None, "");
    let (one, two) = (known[0].digest.as_str(), known[1].digest.as_str());
    assert_eq!(one_component(&known, &one[..8], &seat).unwrap(), known[0]);
    assert_eq!(one_component(&known, two, &seat).unwrap(), known[1]);
    assert!(one_component(&known, "", &seat).unwrap_err().to_string().contains("several"));
    assert!(one_component(&known, "zz", &seat).unwrap_err().to_string().contains(one));
    let seats = [Seat::new("review", None, "a"), Seat::new("review", None, "b")];
    let known: Vec<&Seat> = seats.iter().chain(&seats).collect();
    assert_eq!(one_seat(&known, "review/a").unwrap(), seats[0]);
    assert!(one_seat(&known, "review").unwrap_err().to_string().contains("review/a, review/b"));
}

#[test]
fn a_bound_is_broken_only_by_more() {
    let shadow = Shadow { decisions: 9, changed: 3, failed: 0, not_tried: 0, first: Vec::new() };
    assert_eq!((too_many(&shadow, None), too_many(&shadow, Some(3))), (None, None));
    let said = too_many(&shadow, Some(2)).unwrap();
    assert_eq!(said, "it would change 3 of 9 recorded decisions, and 2 may");
}
