//! Places before and after every durable write and every effect, where a test ends this process or lets the
//! disk be full. Only a build with the feature `failpoints` has them, which tests switch on; in every
//! other build each function here is empty.
//!
//! `NECRO_FAILPOINT="kill SITE HIT"` or `"full SITE HIT"` says what happens at which passing of a site,
//! counted from 1, and `NECRO_FAILPOINT_LOG` names a file that gets a line for every passing. A disk
//! that is full stays full. A site's name is `place.detail.before` or `place.detail.after`.

use std::future::Future;
use std::io;

/// What a write fails with when a test wants the disk to be full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the disk is full")]
pub struct DiskFull;

impl From<DiskFull> for io::Error {
    fn from(_: DiskFull) -> Self {
        rustix::io::Errno::NOSPC.into()
    }
}

/// Passes a place at which the process may end, but nothing can fail.
#[inline]
pub(crate) fn reach(place: &str, detail: &str, side: Side) {
    // Without a write there is nothing that a full disk could stop.
    let _ = pass(place, detail, side, Kind::Effect);
}

/// Does a write, between a site before it and one after it.
///
/// # Errors
/// Those of `work`; a full disk, when a test wants one.
#[inline]
pub(crate) fn writing<T, E: From<DiskFull>>(
    place: &str,
    detail: &str,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    pass(place, detail, Side::Before, Kind::Write)?;
    let done = work()?;
    reach(place, detail, Side::After);
    Ok(done)
}

/// The same for a write that is waited for.
///
/// # Errors
/// Those of `work`; a full disk, when a test wants one.
#[inline]
pub(crate) async fn awaiting<T, E: From<DiskFull>>(
    place: &str,
    detail: &str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    pass(place, detail, Side::Before, Kind::Write)?;
    let done = work.await?;
    reach(place, detail, Side::After);
    Ok(done)
}

/// On which side of a write or an effect a site lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// It has not happened yet.
    Before,
    /// It has happened, and nobody knows of it yet.
    After,
}

/// What a site stands at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A write that a full disk stops.
    Write,
    /// Something else that is seen outside.
    Effect,
}

#[cfg(not(feature = "failpoints"))]
#[inline]
fn pass(_: &str, _: &str, _: Side, _: Kind) -> Result<(), DiskFull> {
    Ok(())
}

#[cfg(feature = "failpoints")]
use switched_on::pass;

#[cfg(feature = "failpoints")]
mod switched_on {
    use std::collections::HashMap;
    use std::fs::File;
    use std::io::Write as _;
    use std::sync::{LazyLock, Mutex, PoisonError};

    use super::{DiskFull, Kind, Side};

    /// What is asked for by the environment; absent when nothing is.
    static ORDER: LazyLock<Option<Order>> = LazyLock::new(Order::given);

    struct Order {
        act: Option<Act>,
        log: Option<File>,
        state: Mutex<State>,
    }

    struct Act {
        kill: bool,
        site: String,
        hit: u64,
    }

    #[derive(Default)]
    struct State {
        passed: HashMap<String, u64>,
        full: bool,
    }

    impl Order {
        fn given() -> Option<Self> {
            let act = std::env::var("NECRO_FAILPOINT").ok().map(|text| {
                Act::parse(&text).unwrap_or_else(|| panic!("NECRO_FAILPOINT is not `kill|full SITE HIT`: `{text}`"))
            });
            let log = std::env::var_os("NECRO_FAILPOINT_LOG")
                .map(|path| File::options().create(true).append(true).open(path).expect("the failpoints' log opens"));
            (act.is_some() || log.is_some()).then(|| Self { act, log, state: Mutex::default() })
        }

        fn pass(&self, site: &str, kind: Kind) -> Result<(), DiskFull> {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let hit = state.passed.get(site).map_or(1, |before| before + 1);
            state.passed.insert(site.to_owned(), hit);
            if let Some(mut log) = self.log.as_ref() {
                // What a test does not find in the log, it takes for not passed, and says so.
                let _ = log.write_all(format!("{site} {kind:?}\n").as_bytes());
            }
            let asked = self.act.as_ref().filter(|act| act.site == site && act.hit == hit);
            match asked {
                Some(act) if act.kill => die(),
                Some(_) => state.full = true,
                None => {}
            }
            if state.full && kind == Kind::Write { Err(DiskFull) } else { Ok(()) }
        }
    }

    impl Act {
        fn parse(text: &str) -> Option<Self> {
            let mut words = text.split(' ');
            let kill = match words.next()? {
                "kill" => true,
                "full" => false,
                _ => return None,
            };
            let (site, hit) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
            words.next().is_none().then_some(Self { kill, site, hit })
        }
    }

    /// Ends this process as nothing else can: no destructor runs, nothing is flushed.
    fn die() -> ! {
        // It cannot fail for the process itself; if it did, the test would see that nobody was killed.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }

    pub(super) fn pass(place: &str, detail: &str, side: Side, kind: Kind) -> Result<(), DiskFull> {
        let Some(order) = &*ORDER else { return Ok(()) };
        let side = match side {
            Side::Before => "before",
            Side::After => "after",
        };
        let site = if detail.is_empty() { format!("{place}.{side}") } else { format!("{place}.{detail}.{side}") };
        order.pass(&site, kind)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn order(text: &str) -> Order {
            Order { act: Act::parse(text), log: None, state: Mutex::default() }
        }

        #[test]
        fn only_whole_orders_are_understood() {
            for (text, understood) in [
                ("kill a.before 1", true),
                ("full a 2", true),
                ("kill a", false),
                ("end a 1", false),
                ("kill a 1 2", false),
            ] {
                assert_eq!(Act::parse(text).is_some(), understood, "{text}");
            }
        }

        #[test]
        fn a_disk_is_full_from_the_wanted_passing_on_and_for_writes_only() {
            let order = order("full a 2");
            let passed: Vec<bool> =
                ["a", "a", "b", "a"].iter().map(|site| order.pass(site, Kind::Write).is_ok()).collect();
            assert_eq!(passed, [true, false, false, false]);
            assert_eq!(order.pass("a", Kind::Effect), Ok(()));
        }
    }
}
