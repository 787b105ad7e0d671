//! Slots against git's own commands in the same run, on a repository of 2,000 files and 50 MB: a warm slot brought to
//! a commit against fetch, reset and clean as three commands; a cold slot against a shared clone; the
//! disk that twenty slots take against their checkouts.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

mod measure;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use measure::{Bound, exit, median, row, shown, verdict};
use necro_host::clock::{Clock, SystemClock};
use necro_host::domain::id::CommitId;
use necro_host::domain::pool::PoolSettings;
use necro_host::workspace::{Git, Mirror, Slot, SlotPool, Source, Terms, seed_repository};

const FILES: usize = 2_000;
/// Bytes of each, where time is measured.
const SMALL: usize = 4_000;
/// The same, where disk is.
const LARGE: usize = 25_000;
/// Files in which two commits differ.
const CHANGED: usize = 20;
const ROUNDS: usize = 40;
/// Rounds with a new commit.
const NEWS: usize = 20;
const COLD_ROUNDS: usize = 9;
const SLOTS: usize = 20;
const WARM: Bound = Bound::AtMost(0.6);
const COLD: Bound = Bound::AtMost(1.15);
const DISK: Bound = Bound::AtMost(2.0);

/// The upstream, our mirror and pool of it, and a clone that git's own commands work in.
struct Place {
    dir: tempfile::TempDir,
    mirror: Arc<Mirror>,
    pool: SlotPool,
    clock: Arc<SystemClock>,
    lent: u32,
    /// Of each file.
    bytes: usize,
}

/// Times of both sides, and what they are to each other round by round.
#[derive(Default)]
struct Pair {
    ours: Vec<Duration>,
    theirs: Vec<Duration>,
    ratios: Vec<f64>,
}

impl Pair {
    fn show(&self, what: &str) {
        println!("{what}; medians of {}", self.ours.len());
        row("slot", shown(median(&self.ours)));
        row("fetch, reset --hard, clean -fdx", shown(median(&self.theirs)));
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    println!("{FILES} files of {SMALL} bytes; commits differ in {CHANGED} of them");
    let mut place = Place::new(SMALL).await?;
    let [warm, cold] = [place.warm().await?, place.cold().await?];
    println!("{FILES} files, {} MB", FILES * LARGE / 1_000_000);
    let disk = Place::new(LARGE).await?.disk().await?;
    let verdicts = [warm, cold, disk];
    Ok(exit(&verdicts))
}

impl Place {
    async fn new(bytes: usize) -> Result<Self> {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let texts: Vec<(String, String)> = (0..FILES).map(|n| (name(n), noise(n as u64, bytes))).collect();
        let files: Vec<(&str, &str)> = texts.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let at = jiff::Timestamp::constant(1_767_225_600, 0);
        seed_repository(&dir.path().join("upstream"), &files, "Begin", at)?;
        std::fs::create_dir(dir.path().join("state"))?;
        let git = Git::locate(&dir.path().join("state")).await?;
        let source = Source::parse("upstream", dir.path())?;
        let mirror = Mirror::open(git, &dir.path().join("state/repos"), source).await?;
        mirror.fetch().await?;
        let clock = Arc::new(SystemClock::default());
        let settings = PoolSettings { bound: 64, ..PoolSettings::default() };
        let pool = SlotPool::new(Arc::clone(&mirror), settings, clock.clone());
        let place = Self { dir, mirror, pool, clock, lent: 0, bytes };
        place.git(".", &["clone", "--quiet", "upstream", "clone"])?;
        Ok(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Git as a person has it, without the machine's own configuration.
    #[expect(clippy::disallowed_methods, reason = "git's own commands are what is measured against")]
    fn git(&self, within: &str, args: &[&str]) -> Result<()> {
        let mut command = Command::new("git");
        command.current_dir(self.path(within)).args(args);
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        for (key, value) in [("AUTHOR", "Bench"), ("COMMITTER", "Bench")] {
            command.env(format!("GIT_{key}_NAME"), value).env(format!("GIT_{key}_EMAIL"), "bench@localhost");
        }
        let output = command.output()?;
        ensure!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Somebody pushes a commit.
    fn upstream(&self, round: usize) -> Result<()> {
        for n in 0..CHANGED {
            let file = self.path("upstream").join(name((round * 7 + n * 97) % FILES));
            std::fs::write(file, noise((round * 100_000 + n) as u64, self.bytes))?;
        }
        self.git("upstream", &["commit", "--quiet", "--all", "--message", "More"])
    }

    async fn tip(&self) -> Result<CommitId> {
        self.mirror.branch_tip("main").await?.context("the upstream has a main branch")
    }

    async fn lend(&mut self) -> Result<Slot> {
        self.lent += 1;
        let terms = Terms {
            lease: format!("lease-{}", self.lent),
            holder: "bench".to_owned(),
            ttl: Duration::from_secs(600),
            ends_with_process: true,
        };
        self.pool.acquire(terms).await?.context("a slot is free")
    }

    /// One slot that is lent, brought to a commit and given back, and one clone that is brought to it.
    async fn warm(&mut self) -> Result<bool> {
        let mut same = Pair::default();
        let mut other = Pair::default();
        let mut new = Pair::default();
        let commits = self.two_commits().await?;
        for round in 0..=ROUNDS {
            // The first lending makes the slot.
            let counts = round > 0;
            let commit = &commits[round % 2];
            self.measure(counts.then_some(&mut other), Some(commit)).await?;
            self.measure(counts.then_some(&mut same), Some(commit)).await?;
        }
        for round in 0..NEWS {
            self.upstream(2 + round)?;
            self.measure(Some(&mut new), None).await?;
        }
        other.show("warm slot to another commit, nothing new upstream");
        let holds = verdict("warm slot", median(&other.ratios), " x", WARM);
        same.show("warm slot to the same commit, nothing new upstream");
        row("so many times as long", format!("{:.2} x", median(&same.ratios)));
        new.show("warm slot to a new upstream commit, most of it git's own fetch");
        row("so many times as long", format!("{:.2} x", median(&new.ratios)));
        Ok(holds)
    }

    /// Two commits that both sides know.
    async fn two_commits(&mut self) -> Result<[CommitId; 2]> {
        let first = self.tip().await?;
        self.upstream(1)?;
        self.mirror.fetch().await?;
        Ok([first, self.tip().await?])
    }

    /// One round of both sides; without a commit, the upstream's newest.
    async fn measure(&mut self, pair: Option<&mut Pair>, commit: Option<&CommitId>) -> Result<()> {
        let begun = self.clock.elapsed();
        self.mirror.fetch().await?;
        let commit = match commit {
            Some(commit) => commit.clone(),
            None => self.tip().await?,
        };
        let slot = self.lend().await?;
        ensure!(slot.prepare(&commit, self.clock.now()).await?.rescued.is_none(), "nothing is unsaved");
        let ours = self.clock.elapsed() - begun;
        let _ = slot.release(self.clock.now()).await?;

        let begun = self.clock.elapsed();
        self.git("clone", &["fetch", "--quiet"])?;
        self.git("clone", &["reset", "--quiet", "--hard", commit.as_str()])?;
        self.git("clone", &["clean", "-fdxq"])?;
        let theirs = self.clock.elapsed() - begun;
        if let Some(pair) = pair {
            pair.ours.push(ours);
            pair.theirs.push(theirs);
            pair.ratios.push(ours.as_secs_f64() / theirs.as_secs_f64());
        }
        Ok(())
    }

    /// A slot that is made of the mirror, and a shared clone of it.
    async fn cold(&mut self) -> Result<bool> {
        let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        let tip = self.tip().await?;
        let upstream = self.path("upstream");
        let held = self.lend().await?;
        let mut slots = Vec::new();
        for round in 0..COLD_ROUNDS {
            let begun = self.clock.elapsed();
            let slot = self.lend().await?;
            let _ = slot.prepare(&tip, self.clock.now()).await?;
            let took = self.clock.elapsed() - begun;
            slots.push(slot);

            let to = format!("shared-{round}");
            let begun = self.clock.elapsed();
            self.git(".", &["clone", "--quiet", "--shared", upstream.to_str().context("a path")?, &to])?;
            let commands = self.clock.elapsed() - begun;
            std::fs::remove_dir_all(self.path(&to))?;
            ours.push(took);
            theirs.push(commands);
            ratios.push(took.as_secs_f64() / commands.as_secs_f64());
        }
        drop(held);
        row(&format!("cold slot: median of {COLD_ROUNDS}"), shown(median(&ours)));
        row("clone --shared", shown(median(&theirs)));
        Ok(verdict("cold slot", median(&ratios), " x", COLD))
    }

    /// What twenty slots take beyond twenty checkouts.
    async fn disk(&mut self) -> Result<bool> {
        let tip = self.tip().await?;
        let mut slots = Vec::new();
        for _ in 0..SLOTS {
            let slot = self.lend().await?;
            let _ = slot.prepare(&tip, self.clock.now()).await?;
            slots.push(slot);
        }
        let checkouts: u64 = slots.iter().map(|slot| blocks(slot.work_dir())).sum::<Result<u64>>()?;
        let whole = blocks(&self.mirror.dir().join("slots"))? + blocks(&self.mirror.dir().join("host"))?;
        let more = (whole as f64 / checkouts as f64 - 1.0) * 100.0;
        row(&format!("{SLOTS} checkouts, MB on disk"), checkouts / 1_000_000);
        row("slots with all that belongs to them", whole / 1_000_000);
        Ok(verdict("beyond the checkouts", more, " %", DISK))
    }
}

fn name(n: usize) -> String {
    format!("src/part-{}/unit-{}/file-{n}.txt", n % 10, n % 100)
}

/// Text that does not repeat itself.
fn noise(seed: u64, bytes: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::with_capacity(bytes + 17);
    while text.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push_str(&format!("{state:016x}\n"));
    }
    text.truncate(bytes);
    text
}

/// Bytes of the blocks that a folder and all in it take.
fn blocks(path: &Path) -> Result<u64> {
    let found = std::fs::symlink_metadata(path)?;
    let mut bytes = found.blocks() * 512;
    if found.is_dir() {
        for entry in std::fs::read_dir(path)? {
            bytes += blocks(&entry?.path())?;
        }
    }
    Ok(bytes)
}
