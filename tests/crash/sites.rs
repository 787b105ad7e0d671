//! The places where a run can be killed: counted in a run that is not, and a choice of them.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A site that is passed so often is one of many writes at once.
const OFTEN: u64 = 100;
/// So many passings of it are chosen.
const MANY: u64 = 9;

/// Up to `count` numbers from the first to the last of `hits`, evenly.
fn spread(hits: u64, count: u64) -> Vec<u64> {
    let mut chosen: Vec<u64> = (0..count).map(|at| 1 + (hits - 1) * at / (count - 1)).collect();
    chosen.dedup();
    chosen
}

/// What was passed how often, and whether a full disk stops it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Census(BTreeMap<String, Passed>);

/// How one site was passed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Passed {
    pub(crate) hits: u64,
    pub(crate) is_write: bool,
}

/// One passing of a site, and what shall happen at it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    pub(crate) act: Act,
    pub(crate) site: String,
    pub(crate) hit: u64,
}

/// What happens at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Act {
    Kill,
    Full,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let act = if self.act == Act::Kill { "kill" } else { "full" };
        write!(f, "{act} {} {}", self.site, self.hit)
    }
}

impl Point {
    pub(crate) fn kill(site: &str, hit: u64) -> Self {
        Self { act: Act::Kill, site: site.to_owned(), hit }
    }

    /// What [`Display`](fmt::Display) writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let [act, site, hit] = text.trim().split(' ').collect::<Vec<_>>()[..] else { return None };
        let act = match act {
            "kill" => Act::Kill,
            "full" => Act::Full,
            _ => return None,
        };
        Some(Self { act, site: site.to_owned(), hit: hit.parse().ok()? })
    }

    /// Lets the command meet it.
    pub(crate) fn put_into(&self, command: &mut Command) {
        command.env("NECRO_FAILPOINT", self.to_string());
    }
}

/// Lets a command count what it passes in `log`.
pub(crate) fn count_into(command: &mut Command, log: &Path) {
    command.env("NECRO_FAILPOINT_LOG", log);
}

impl Census {
    /// Reads what a command has counted; nothing, when it did not get so far.
    pub(crate) fn read(log: &Path) -> Self {
        let mut census = Self::default();
        for line in fs::read_to_string(log).unwrap_or_default().lines() {
            // The last line of a process that was killed may be a part.
            let Some((site, kind)) = line.split_once(' ') else { continue };
            let passed = census.0.entry(site.to_owned()).or_default();
            passed.hits += 1;
            passed.is_write |= kind == "Write";
        }
        census
    }

    /// The sites, by name.
    pub(crate) fn sites(&self) -> impl Iterator<Item = (&str, Passed)> {
        self.0.iter().map(|(site, passed)| (site.as_str(), *passed))
    }

    /// The first, the middle and the last passing of each site, or all; more of a site that everything passes.
    pub(crate) fn kills(&self, all: bool) -> Vec<Point> {
        let choose = |hits: u64| match hits {
            _ if all => (1..=hits).collect(),
            OFTEN.. => spread(hits, MANY),
            _ => spread(hits, 3),
        };
        let kill = |(site, passed): (&str, Passed)| {
            choose(passed.hits).into_iter().map(|hit| Point::kill(site, hit)).collect()
        };
        self.sites().map(kill).collect::<Vec<Vec<Point>>>().concat()
    }

    /// The middle passing of each site that a full disk stops, or all.
    pub(crate) fn writes(&self, all: bool) -> Vec<Point> {
        let choose = |hits: u64| if all { (1..=hits).collect() } else { vec![hits.div_ceil(2)] };
        let full = |(site, passed): (&str, Passed)| -> Vec<Point> {
            let point = |hit| Point { act: Act::Full, ..Point::kill(site, hit) };
            choose(passed.hits).into_iter().map(point).collect()
        };
        let writes = self.sites().filter(|(site, passed)| passed.is_write && site.ends_with(".before"));
        writes.flat_map(full).collect()
    }
}
