//! The pool against a model of it: whatever happens in whatever order, no slot has two holders, and every text that
//! anybody wrote into a slot is still somewhere: in a slot, in a rescue, or in a folder that was set aside.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::*;
use crate::clock::Clock as _;
use crate::domain::pool::{Process, SlotState};

/// What can happen. Numbers choose among what there is.
#[derive(Debug, Clone)]
enum Act {
    /// A process or a person takes a slot and makes it ready.
    Acquire { process: u32, person: bool },
    /// A holder writes a text that is nowhere else.
    Write { which: usize },
    /// A holder gives its slot back.
    Release { which: usize },
    /// A holder puts its slot down as it is.
    PutDown { which: usize },
    /// A process ends without a word.
    Crash { process: u32 },
    /// Time passes; what a person has runs out.
    Wait,
    /// Somebody who has not taken a slot writes into it.
    Intrude { slot: usize },
    /// Something breaks.
    Corrupt { slot: usize, what: Damage },
    /// An operator makes a slot anew.
    Repair { slot: usize },
    /// An operator removes a slot.
    Remove { slot: usize },
}

#[derive(Debug, Clone, Copy)]
enum Damage {
    Index,
    IndexLock,
    Base,
    Record,
    ToolRepository,
    ReadOnly,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let damage = prop_oneof![
        Just(Damage::Index),
        Just(Damage::IndexLock),
        Just(Damage::Base),
        Just(Damage::Record),
        Just(Damage::ToolRepository),
        Just(Damage::ReadOnly),
    ];
    let act = prop_oneof![
        5 => (0..3_u32, prop::bool::weighted(0.3)).prop_map(|(process, person)| Act::Acquire { process, person }),
        6 => (0..8_usize).prop_map(|which| Act::Write { which }),
        4 => (0..8_usize).prop_map(|which| Act::Release { which }),
        1 => (0..8_usize).prop_map(|which| Act::PutDown { which }),
        2 => (0..3_u32).prop_map(|process| Act::Crash { process }),
        1 => Just(Act::Wait),
        2 => (0..4_usize).prop_map(|slot| Act::Intrude { slot }),
        2 => (0..4_usize, damage).prop_map(|(slot, what)| Act::Corrupt { slot, what }),
        1 => (0..4_usize).prop_map(|slot| Act::Repair { slot }),
        1 => (0..4_usize).prop_map(|slot| Act::Remove { slot }),
    ];
    prop::collection::vec(act, 10..40)
}

/// Who holds a slot, as the model has it.
struct Holder {
    slot: Slot,
    process: Option<u32>,
    until: u64,
}

struct World {
    fixture: Fixture,
    mirror: Arc<Mirror>,
    base: CommitId,
    clock: Arc<ManualClock>,
    gone: Arc<Mutex<BTreeSet<u32>>>,
    /// Processes, each with the number that it has after its last crash.
    pids: [u32; 3],
    holders: Vec<Holder>,
    /// Every text that was written, once.
    written: BTreeSet<String>,
    now: u64,
    leases: u32,
}

const TTL: u64 = 60;

impl World {
    async fn new() -> Self {
        let fixture = Fixture::new().await;
        let mirror = fixture.mirror().await;
        let base = mirror.branch_tip("main").await.unwrap().unwrap();
        let (clock, gone) = (Arc::new(ManualClock::at(now())), Arc::default());
        let (holders, written) = (Vec::new(), BTreeSet::new());
        Self { fixture, mirror, base, clock, gone, pids: [0, 1, 2], holders, written, now: 0, leases: 0 }
    }

    /// The pool as one process sees it.
    fn pool(&self, pid: u32) -> SlotPool {
        let own = Process { pid, began: 1, boot: String::new() };
        let gone = Arc::clone(&self.gone);
        let liveness = Liveness::told(own, move |process| !gone.lock().unwrap().contains(&process.pid));
        let settings = PoolSettings { bound: 3, ..PoolSettings::default() };
        SlotPool::with_liveness(Arc::clone(&self.mirror), settings, Arc::clone(&self.clock) as _, liveness)
    }

    fn terms(&mut self, person: bool) -> Terms {
        self.leases += 1;
        let lease = format!("lease {}", self.leases);
        Terms { holder: lease.clone(), lease, ttl: Duration::from_secs(TTL), ends_with_process: !person }
    }

    fn claims(&self, holder: &Holder) -> bool {
        match holder.process {
            Some(pid) => !self.gone.lock().unwrap().contains(&pid),
            None => self.now < holder.until,
        }
    }

    fn slots(&self) -> PathBuf {
        self.mirror.dir().join("slots")
    }

    fn host(&self, slot: usize) -> PathBuf {
        self.mirror.dir().join("host").join((slot + 1).to_string())
    }

    /// Writes a new text, if there is a work tree.
    fn write(&mut self, work: &Path) {
        if !work.is_dir() {
            return;
        }
        let text = format!("work {}", self.written.len());
        put(&work.join(format!("new-{}.txt", self.written.len())), &text);
        self.written.insert(text);
    }

    async fn act(&mut self, act: Act) -> Result<(), TestCaseError> {
        match act {
            Act::Acquire { process, person } => return self.acquire(process, person).await,
            Act::Write { which } => {
                if let Some(holder) = self.holders.get(which).filter(|holder| self.claims(holder)) {
                    let work = holder.slot.work_dir().to_owned();
                    self.write(&work);
                }
            }
            Act::Release { which } if which < self.holders.len() => {
                let holder = self.holders.remove(which);
                // One that was taken from its holder meanwhile is not his to clean.
                let _ = holder.slot.release(self.clock.now()).await;
            }
            Act::PutDown { which } if which < self.holders.len() => drop(self.holders.remove(which)),
            Act::Crash { process } => {
                let pid = &mut self.pids[process as usize];
                self.gone.lock().unwrap().insert(*pid);
                *pid += 10;
                // A process that is gone gives nothing back.
                let gone = self.gone.lock().unwrap().clone();
                for at in (0..self.holders.len()).rev() {
                    if self.holders[at].process.is_some_and(|pid| gone.contains(&pid)) {
                        let _ = self.holders.remove(at).slot.give_up();
                    }
                }
            }
            Act::Wait => {
                self.clock.advance(Duration::from_secs(TTL / 2));
                self.now += TTL / 2;
            }
            Act::Intrude { slot } => {
                let work = self.slots().join((slot + 1).to_string()).join("work");
                self.write(&work);
            }
            Act::Corrupt { slot, what } => {
                self.corrupt(slot, what);
                if matches!(what, Damage::Record) {
                    // Who has it is not known any more; only of a process the lock still tells.
                    let id = format!("workspace-app-slot{}", slot + 1);
                    self.holders.retain(|holder| holder.process.is_some() || holder.slot.id().as_str() != id);
                }
            }
            Act::Repair { slot } => {
                let terms = self.terms(false);
                let _ = self.pool(90).repair(u32::try_from(slot).unwrap() + 1, &self.base, terms).await;
            }
            Act::Remove { slot } => {
                let terms = self.terms(false);
                let _ = self.pool(90).remove(u32::try_from(slot).unwrap() + 1, terms).await;
            }
            Act::Release { .. } | Act::PutDown { .. } => {}
        }
        Ok(())
    }

    async fn acquire(&mut self, process: u32, person: bool) -> Result<(), TestCaseError> {
        let (pid, terms) = (self.pids[process as usize], self.terms(person));
        let Some(slot) = self.pool(pid).acquire(terms).await.unwrap() else { return Ok(()) };
        for holder in self.holders.iter().filter(|holder| holder.slot.id() == slot.id()) {
            prop_assert!(!self.claims(holder), "{} is held twice", slot.id());
        }
        // A slot that cannot be made ready is given back, and others are lent.
        if slot.prepare(&self.base, self.clock.now()).await.is_ok() {
            let found = slot.snapshot().await.unwrap().tree;
            prop_assert_eq!(found, tree_of(&self.mirror, &self.base).await, "it is not clean");
            self.holders.push(Holder { slot, process: (!person).then_some(pid), until: self.now + TTL });
        }
        Ok(())
    }

    fn corrupt(&self, slot: usize, what: Damage) {
        let host = self.host(slot);
        if !host.is_dir() {
            return;
        }
        let dir = self.slots().join((slot + 1).to_string());
        // What is not there cannot be damaged.
        let _ = match what {
            Damage::Index => fs::write(host.join("index"), "garbage"),
            Damage::IndexLock => fs::write(host.join("index.lock"), ""),
            Damage::Base => fs::write(host.join("base"), "nonsense"),
            Damage::Record => fs::write(host.join("slot.json"), "{"),
            Damage::ToolRepository => fs::remove_dir_all(dir.join("git")),
            Damage::ReadOnly => fs::set_permissions(dir.join("work"), fs::Permissions::from_mode(0o555)),
        };
    }

    /// Texts that are nowhere any more.
    async fn lost(&self) -> Vec<String> {
        let mut found = BTreeSet::new();
        for folder in [self.slots(), self.mirror.dir().join("rescued")] {
            if folder.is_dir() {
                found.extend(inventory(&folder).into_values());
            }
        }
        for kept in self.mirror.kept_work().await.unwrap() {
            let Some(commit) = kept.commit else { continue };
            let tree = tree_of(&self.mirror, &commit).await;
            let files = {
                let tree = tree.clone();
                self.mirror.objects(move |objects| objects.list_files(&tree, "")).await.unwrap()
            };
            for file in files.into_iter().filter(|file| file.starts_with("new-")) {
                found.insert(format!("file 0 {}", read(&self.mirror, &tree, &file).await.unwrap()));
            }
        }
        self.written.iter().filter(|text| !found.contains(&format!("file 0 {text}"))).cloned().collect()
    }
}

async fn play(acts: Vec<Act>) -> Result<(), TestCaseError> {
    let mut world = World::new().await;
    for act in acts {
        let told = format!("{act:?}");
        world.act(act).await?;
        let lost = world.lost().await;
        prop_assert!(lost.is_empty(), "{told} lost {lost:?}");
        let states: BTreeMap<u32, SlotState> =
            world.pool(91).records().await.unwrap().into_iter().map(|record| (record.number, record.state)).collect();
        for holder in world.holders.iter().filter(|holder| world.claims(holder)) {
            let number = world.pool(91).number(holder.slot.id().as_str()).unwrap();
            prop_assert_ne!(states.get(&number), Some(&SlotState::Available), "{} counts as free", holder.slot.id());
        }
    }
    prop_assert!(world.fixture.user().join("README.md").exists());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_work_is_ever_lost_and_no_slot_is_held_twice(acts in acts()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(acts))?;
    }
}
