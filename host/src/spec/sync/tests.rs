//! Each rule by itself, then all of them together: a person, the registry and syncs that are cut off, in
//! any order, beside a model of who has the last word.

use proptest::prelude::*;

use super::super::plan;
use super::*;

fn id(text: &str) -> TaskId {
    TaskId::new(text).unwrap()
}

fn states(of: &[(&str, TaskState)]) -> States {
    of.iter().map(|(task, state)| (id(task), *state)).collect()
}

/// A registry that does what it is told, and what it agreed on.
#[derive(Debug, Clone, Default)]
struct World {
    states: States,
    base: Option<Base>,
}

impl World {
    /// One sync; gives what the file is to say, and the base for the time until it does.
    fn begin(&mut self, file: &str) -> (Changes, String, Base) {
        let definitions = plan(file.as_bytes()).tasks;
        let changes = changes(self.base.as_ref(), file.as_bytes(), &definitions, &self.states);
        self.states = predict(&definitions, &self.states, &changes);
        let new = write(self.base.as_ref(), file.as_bytes(), &self.states);
        let underway = Base::underway(file.as_bytes(), &new, &self.states);
        (changes, String::from_utf8(new).unwrap(), underway)
    }

    fn sync(&mut self, file: &str) -> String {
        let (_, new, _) = self.begin(file);
        self.base = Some(Base::agreed(new.as_bytes(), &self.states));
        new
    }
}

const FILE: &str =
    "\u{feff}# P\r\n- [ ] 1. a\r\n  - [ ] 1.1 b\r\n  - [ ] 1.2 c\r\n  - [ ]* 1.3 d\n- [ ] 2. e\r- [ ] 3. f";

fn with(file: &str, boxes: &[(&str, char)]) -> String {
    boxes.iter().fold(file.to_owned(), |file, (task, state)| {
        let at = [format!("] {task} "), format!("] {task}. "), format!("]* {task} ")];
        let at = at.iter().find_map(|text| file.find(text)).unwrap_or_else(|| panic!("{task} in {file}"));
        format!("{}{state}{}", &file[..at - 1], &file[at..])
    })
}

#[test]
fn a_newly_ticked_box_is_a_done_task_and_its_parent_follows() {
    let mut world = World::default();
    assert_eq!(world.sync(&with(FILE, &[("1.1", 'x')])), with(FILE, &[("1.1", 'x')]));
    let file = with(FILE, &[("1.1", 'x'), ("1.2", 'x')]);
    let (changes, new, _) = world.begin(&file);
    assert_eq!(changes.ticked, [id("1.2")].into());
    assert_eq!(new, with(&file, &[("1", 'x')]));
    assert_eq!(world.states[&id("1")], TaskState::Done);
    assert_eq!(world.states[&id("1.3")], TaskState::Ready);
}

#[test]
fn what_the_registry_has_is_written_and_only_ours_is_cleared() {
    use TaskState::{Cancelled, Done, Failed, Ready, Running};
    // The box, whether it was agreed on, the state, and the box then.
    for (says, agreed, state, expected) in [
        (' ', false, Done, 'x'),
        (' ', false, Running, '-'),
        (' ', true, Failed, ' '),
        ('~', false, Running, '-'),
        ('~', false, Ready, '~'),
        ('-', true, Ready, ' '),
        ('-', true, Failed, ' '),
        ('-', false, Ready, '-'),
        ('-', false, Done, 'x'),
        ('x', true, Ready, ' '),
        ('x', true, Running, '-'),
        ('x', true, Cancelled, ' '),
        ('x', false, Ready, 'x'),
        ('x', false, Running, 'x'),
        ('X', true, Ready, ' '),
        ('X', false, Done, 'X'),
        ('!', false, Ready, '!'),
        ('!', false, Running, '!'),
        ('!', false, Done, 'x'),
        ('✓', false, Done, 'x'),
    ] {
        let file = with(FILE, &[("2", says)]);
        let now = if says == 'X' { 'x' } else { says };
        let base = Base { boxes: [(id("2"), Says { now: if agreed { now } else { ' ' }, before: None })].into() };
        let new = write(Some(&base), file.as_bytes(), &states(&[("2", state)]));
        let expected = with(FILE, &[("2", expected)]);
        assert_eq!(String::from_utf8(new).unwrap(), expected, "{says:?} {agreed} {state}");
    }
}

#[test]
fn without_a_base_nothing_was_un_ticked() {
    let mut world = World { states: states(&[("2", TaskState::Done), ("3", TaskState::Cancelled)]), base: None };
    let (changes, new, _) = world.begin(FILE);
    assert_eq!(changes, Changes::default());
    assert_eq!(new, with(FILE, &[("2", 'x')]));
}

#[test]
fn an_un_ticked_box_opens_its_task_and_its_parent_is_cleared() {
    let mut world = World::default();
    let all = with(FILE, &[("1", 'x'), ("1.1", 'x'), ("1.2", 'x')]);
    assert_eq!(world.sync(&all), all);
    for open in [' ', '-', '~', '!'] {
        let file = with(&all, &[("1.2", open)]);
        let (changes, new, _) = world.clone().begin(&file);
        assert_eq!(changes.opened, [id("1.2")].into());
        assert_eq!(new, with(&file, &[("1", ' ')]), "{open}");
    }
}

#[test]
fn a_parent_follows_its_parts_whatever_its_own_box_says() {
    let mut world = World::default();
    let all = with(FILE, &[("1.1", 'x'), ("1.2", 'x')]);
    let all = world.sync(&all);
    let (changes, new, _) = world.begin(&with(&all, &[("1", ' ')]));
    assert_eq!((changes.opened.len(), changes.followed), (0, [id("1")].into()));
    assert_eq!(new, all);
    // A person's tick is never cleared, even when the parts say something else.
    let mut world = World::default();
    let ticked = with(FILE, &[("1", 'x')]);
    for _ in 0..3 {
        assert_eq!(world.sync(&ticked), ticked);
        assert_ne!(world.states[&id("1")], TaskState::Done);
    }
}

#[test]
fn a_person_s_own_mark_of_progress_stays_and_ours_goes() {
    let mut world = World::default();
    let file = with(FILE, &[("2", '-')]);
    for _ in 0..2 {
        assert_eq!(world.sync(&file), file);
    }
    world.states.insert(id("3"), TaskState::Running);
    let running = world.sync(&file);
    assert_eq!(running, with(&file, &[("3", '-')]));
    world.states.insert(id("3"), TaskState::Failed);
    assert_eq!(world.sync(&running), file);
}

#[test]
fn a_task_that_was_taken_out_and_put_in_again_is_to_be_done_again() {
    let mut world = World::default();
    world.sync(FILE);
    let without = FILE.replace("- [ ] 2. e\r", "");
    world.sync(&without);
    world.states.insert(id("2"), TaskState::Cancelled);
    let (changes, ..) = world.clone().begin(FILE);
    assert_eq!(changes.opened, [id("2")].into());
    // One that the registry has finished meanwhile is done, and one that was given up stays so.
    world.states.insert(id("2"), TaskState::Done);
    assert_eq!(world.clone().sync(FILE), with(FILE, &[("2", 'x')]));
    world.sync(FILE);
    world.states.insert(id("3"), TaskState::Cancelled);
    let (changes, ..) = world.begin(&with(FILE, &[("2", 'x')]));
    assert_eq!(changes, Changes::default());
}

#[test]
fn a_number_that_stands_twice_is_not_touched() {
    let file = "- [ ] 1. a\n- [x] 1. b\n- [ ] 2. c\n";
    let states = states(&[("1", TaskState::Done), ("2", TaskState::Done)]);
    assert_eq!(write(None, file.as_bytes(), &states), file.replace("[ ] 2", "[x] 2").as_bytes());
    assert_eq!(Base::agreed(file.as_bytes(), &states).boxes.len(), 1);
}

#[test]
fn a_sync_that_was_cut_off_is_made_whole_by_the_next() {
    let done = |world: &mut World| world.states.insert(id("2"), TaskState::Done);
    for written in [false, true] {
        let mut world = World::default();
        let old = world.sync(FILE);
        done(&mut world);
        let (_, new, underway) = world.begin(&old);
        world.base = Some(underway);
        let found = if written { new.clone() } else { old };
        // Nothing counts as un-ticked for not being written, or as ticked by a person for being written.
        let (changes, again, _) = world.clone().begin(&found);
        assert_eq!((changes, again), (Changes::default(), new), "{written}");
        // Nor when the task was opened again before anybody synced.
        world.states.insert(id("2"), TaskState::Ready);
        let (changes, again, _) = world.begin(&found);
        assert_eq!((changes, again), (Changes::default(), FILE.to_owned()), "{written}");
    }
}

#[test]
fn a_base_is_read_as_it_was_written_and_nothing_else_is_one() {
    let base = Base::underway(
        FILE.as_bytes(),
        with(FILE, &[("2", 'x')]).as_bytes(),
        &states(&[("2", TaskState::Done), ("10", TaskState::Done), ("3", TaskState::Running)]),
    );
    let bytes = base.to_bytes();
    assert_eq!(String::from_utf8_lossy(&bytes), r#"{"version":1,"boxes":{"2":"x ","3":" "}}"#);
    assert_eq!(Base::read(&bytes), Some(base));
    for wrong in [
        &b""[..],
        b"# P\n- [ ] 1. a\n",
        br#"{"version":2,"boxes":{}}"#,
        br#"{"version":1,"boxes":{"1":""}}"#,
        br#"{"version":1,"boxes":{"1":"xxx"}}"#,
        br#"{"version":1,"boxes":{"../1":"x"}}"#,
    ] {
        assert_eq!(Base::read(wrong), None, "{}", String::from_utf8_lossy(wrong));
    }
}

#[test]
fn a_hundred_thousand_lines_are_synced() {
    let mut file = String::from("# P\n");
    for task in 1..=50_000 {
        file.push_str(&format!("- [ ] {task}. t\n  - _Depends: none_\n"));
    }
    let done: States = (1..=50_000).map(|task| (id(&task.to_string()), TaskState::Done)).collect();
    let new = write(None, file.as_bytes(), &done);
    assert_eq!(String::from_utf8(new).unwrap(), file.replace("[ ]", "[x]"));
}

/// What happens between syncs, and how a sync ends.
#[derive(Debug, Clone)]
enum Act {
    Person(&'static str, char),
    Registry(&'static str, TaskState),
    Sync,
    /// The registry was told, and the file was not written.
    CutBeforeFile,
    /// The file was written, and the registry was not told.
    CutAfterFile,
}

const LEAVES: [&str; 5] = ["1.1", "1.2", "1.3", "2", "3"];

fn act() -> impl Strategy<Value = Act> {
    use TaskState::{Blocked, Cancelled, Done, Failed, Ready, Running};
    let leaf = prop::sample::select(LEAVES.to_vec());
    let any = prop::sample::select(vec!["1", "1.1", "1.2", "1.3", "2", "3"]);
    prop_oneof![
        4 => (any, prop::sample::select(vec![' ', 'x', 'x', ' ', '-', '~', 'X', '!'])).prop_map(|(t, c)| Act::Person(t, c)),
        4 => (leaf, prop::sample::select(vec![Done, Ready, Running, Failed, Blocked, Cancelled, Done]))
            .prop_map(|(task, state)| Act::Registry(task, state)),
        3 => Just(Act::Sync),
        1 => Just(Act::CutBeforeFile),
        1 => Just(Act::CutAfterFile),
    ]
}

/// What the box of a task said when a sync looked at it last; unknown while a sync was cut off that was
/// about to change it.
type Seen = BTreeMap<&'static str, Option<bool>>;

fn ticked(file: &str) -> BTreeMap<&'static str, bool> {
    let boxes = boxes(file.as_bytes());
    LEAVES.into_iter().map(|task| (task, boxes[&id(task)] == BoxState::Done)).collect()
}

fn without_states(file: &str) -> Vec<String> {
    file.split(['\n', '\r']).map(|line| line.split_once(']').map_or(line, |(_, rest)| rest).to_owned()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whoever_changed_a_box_last_has_the_last_word(acts in prop::collection::vec(act(), 1..30)) {
        let mut world = World::default();
        let mut file = FILE.to_owned();
        let mut seen = Seen::new();
        for act in acts {
            let cut = match act {
                Act::Person(task, state) => {
                    file = with(&file, &[(task, state)]);
                    continue;
                }
                Act::Registry(task, state) => {
                    // Tasks come into the registry by a sync alone.
                    if let Some(now) = world.states.get_mut(&id(task)) {
                        *now = state;
                        let all = plan(file.as_bytes()).tasks;
                        world.states = predict(&all, &world.states, &Changes::default());
                    }
                    continue;
                }
                Act::Sync => None,
                Act::CutBeforeFile => Some(false),
                Act::CutAfterFile => Some(true),
            };
            let (was, before) = (ticked(&file), world.states.clone());
            let (changes, new, underway) = world.begin(&file);
            let now = ticked(&new);
            for task in LEAVES {
                let known = before.get(&id(task)).copied();
                let expected = match seen.get(task).copied() {
                    None => was[task] || known == Some(TaskState::Done),
                    Some(Some(said)) if said != was[task] && (was[task] || known == Some(TaskState::Done)) => was[task],
                    Some(_) => known == Some(TaskState::Done),
                };
                prop_assert_eq!(world.states[&id(task)] == TaskState::Done, expected, "{} {:?}", task, changes);
                prop_assert_eq!(now[task], expected, "{} {:?}", task, changes);
            }
            prop_assert_eq!(without_states(&new), without_states(&file));
            let parts = now["1.1"] && now["1.2"];
            prop_assert_eq!(world.states[&id("1")] == TaskState::Done, parts);
            let own = boxes(new.as_bytes())[&id("1")] == BoxState::Done;
            prop_assert!(own || !parts, "a parent is open beside its done parts");
            for task in LEAVES {
                let certain = cut.is_none() || was[task] == now[task];
                seen.insert(task, certain.then(|| now[task]));
            }
            match cut {
                None => {
                    file = new;
                    world.base = Some(Base::agreed(file.as_bytes(), &world.states));
                    let mut again = world.clone();
                    let (changes, same, base) = again.begin(&file);
                    prop_assert_eq!(changes, Changes::default());
                    prop_assert_eq!(&same, &file);
                    prop_assert_eq!(again.states, world.states.clone());
                    prop_assert_eq!(Some(base), world.base.clone());
                }
                Some(written) => {
                    world.base = Some(underway);
                    file = if written { new } else { file };
                }
            }
        }
    }

    #[test]
    fn any_bytes_keep_all_but_their_boxes(
        bytes in prop::collection::vec(any::<u8>(), 0..80),
        lines in prop::collection::vec("(  )?[-*] \\[[ xX~-]\\](\\\\?\\*)? [1-3](\\.[1-2])?\\.? t|```|[a-z ]{0,6}", 0..12),
    ) {
        let mut file = lines.join("\n").into_bytes();
        file.extend_from_slice(&bytes);
        let all: States = ["1", "2", "3", "1.1", "2.2"].into_iter().map(|t| (id(t), TaskState::Done)).collect();
        let new = write(None, &file, &all);
        let mask = |file: &[u8]| {
            let Ok(document) = Document::new(file) else { return file.to_owned() };
            apply(file, unique(&document).into_iter().map(|spot| (spot.state, &b"?"[..])).collect())
        };
        prop_assert_eq!(mask(&new), mask(&file));
        let again = write(None, &new, &all);
        prop_assert_eq!(again, new);
    }
}
