//! Whether a component may be called: one that keeps crashing is left alone for a while, then tried again
//! with a single call. Outcome and time in, permit out.

use std::time::Duration;

/// Crashes in a row that open a breaker.
pub const CRASHES: u32 = 3;
/// How long the first wait is.
pub const FIRST_WAIT: Duration = Duration::from_secs(30);
/// How long a wait is at most; each is twice the one before it.
pub const LONGEST_WAIT: Duration = Duration::from_secs(10 * 60);

/// The breaker of one component. Times are readings of one clock that never goes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    state: State,
    /// Counts changes of state, so that what was called before one says nothing about what came after it.
    era: u64,
}

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Calls pass; so many in a row have crashed.
    Closed { crashes: u32 },
    /// No call passes until then; the wait was so long.
    Open { until: Duration, wait: Duration },
    /// One call is under way that decides; the wait before it was so long.
    Probing { wait: Duration },
}

/// A call may be made. Its end is told with [`Breaker::ended`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit {
    era: u64,
}

/// How a call ended, as far as a breaker minds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallEnd {
    /// The component answered; a failure in its own words is an answer.
    Answered,
    /// It trapped, exceeded a limit, or returned what nobody can use.
    Crashed,
    /// Nothing is known about it: it was cancelled, or could not be recorded.
    Unknown,
}

/// A change that somebody should hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// No call is made for so long.
    Opened {
        /// How long.
        wait: Duration,
    },
    /// The component answers again.
    Closed,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { state: State::Closed { crashes: 0 }, era: 0 }
    }
}

impl Breaker {
    /// Asks for a call at `now`. Each permit is given back by [`Breaker::ended`], whatever becomes of it.
    ///
    /// # Errors
    /// How long there is to wait still; nothing when somebody else's probe is under way.
    pub fn ask(&mut self, now: Duration) -> Result<Permit, Option<Duration>> {
        match self.state {
            State::Closed { .. } => {}
            State::Open { until, .. } if now < until => return Err(Some(until - now)),
            State::Open { wait, .. } => self.enter(State::Probing { wait }),
            State::Probing { .. } => return Err(None),
        }
        Ok(Permit { era: self.era })
    }

    /// Takes note of how a call ended at `now`. Calls that began before the last change of state change nothing.
    pub fn ended(&mut self, permit: Permit, end: CallEnd, now: Duration) -> Option<Turn> {
        if permit.era != self.era {
            return None;
        }
        match (self.state, end) {
            (State::Closed { .. }, CallEnd::Answered) => self.state = State::Closed { crashes: 0 },
            (State::Closed { crashes }, CallEnd::Crashed) if crashes + 1 < CRASHES => {
                self.state = State::Closed { crashes: crashes + 1 };
            }
            (State::Closed { .. }, CallEnd::Crashed) => return Some(self.open(FIRST_WAIT, now)),
            (State::Probing { .. }, CallEnd::Answered) => {
                self.enter(State::Closed { crashes: 0 });
                return Some(Turn::Closed);
            }
            (State::Probing { wait }, CallEnd::Crashed) => {
                // Nobody hears of it again: it was said that it is open.
                self.open((wait * 2).min(LONGEST_WAIT), now);
            }
            // The next one may try at once.
            (State::Probing { wait }, CallEnd::Unknown) => self.enter(State::Open { until: now, wait }),
            // Nobody has a permit of the time in which it is open.
            (State::Closed { .. }, CallEnd::Unknown) | (State::Open { .. }, _) => {}
        }
        None
    }

    /// Whether no crash counts: nobody would miss it.
    #[must_use]
    pub const fn is_quiet(&self) -> bool {
        matches!(self.state, State::Closed { crashes: 0 })
    }

    /// Whether calls are held back.
    #[cfg(test)]
    const fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed { .. })
    }

    fn open(&mut self, wait: Duration, now: Duration) -> Turn {
        self.enter(State::Open { until: now.saturating_add(wait), wait });
        Turn::Opened { wait }
    }

    const fn enter(&mut self, state: State) {
        self.state = state;
        self.era += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use CallEnd::{Answered, Crashed, Unknown};

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Calls one after the other until `now`, with these ends.
    fn after(ends: &[CallEnd]) -> (Breaker, Vec<Option<Turn>>) {
        let mut breaker = Breaker::default();
        let turns = ends.iter().map(|end| {
            let permit = breaker.ask(at(0)).unwrap();
            breaker.ended(permit, *end, at(0))
        });
        let turns = turns.collect();
        (breaker, turns)
    }

    #[test]
    fn only_crashes_in_a_row_open_it() {
        for (ends, opens) in [
            (&[Crashed, Crashed, Crashed][..], true),
            (&[Crashed, Crashed][..], false),
            (&[Crashed, Crashed, Answered, Crashed, Crashed][..], false),
            (&[Crashed, Unknown, Crashed, Unknown, Crashed][..], true),
            (&[Answered, Crashed, Crashed, Crashed][..], true),
            (&[Unknown, Unknown, Unknown, Unknown][..], false),
        ] {
            let (breaker, turns) = after(ends);
            assert_eq!(breaker.is_open(), opens, "{ends:?}");
            let told = turns.iter().flatten().count();
            assert_eq!(told, usize::from(opens), "{ends:?}");
        }
    }

    #[test]
    fn one_call_tries_it_again_after_the_wait_and_its_end_decides() {
        let (mut breaker, turns) = after(&[Crashed; 3]);
        assert_eq!(turns[2], Some(Turn::Opened { wait: FIRST_WAIT }));
        assert_eq!(breaker.ask(at(29)), Err(Some(at(1))));
        let probe = breaker.ask(at(30)).unwrap();
        assert_eq!(breaker.ask(at(31)), Err(None), "one probe at a time");
        assert_eq!(breaker.ended(probe, Crashed, at(31)), None, "that it is open was said");
        assert_eq!(breaker.ask(at(32)), Err(Some(at(59))), "twice the wait");
        let probe = breaker.ask(at(91)).unwrap();
        assert_eq!(breaker.ended(probe, Unknown, at(92)), None);
        let probe = breaker.ask(at(92)).unwrap();
        assert_eq!(breaker.ended(probe, Answered, at(93)), Some(Turn::Closed));
        assert!(breaker.is_quiet() && breaker.ask(at(93)).is_ok() && breaker.ask(at(93)).is_ok());
    }

    #[test]
    fn what_was_called_before_says_nothing_about_what_came_after() {
        let mut breaker = Breaker::default();
        let early: Vec<Permit> = (0..5).map(|_| breaker.ask(at(0)).unwrap()).collect();
        for permit in &early[..3] {
            breaker.ended(*permit, Crashed, at(1));
        }
        assert_eq!(breaker.ended(early[3], Answered, at(2)), None);
        assert!(breaker.is_open(), "a late answer does not close it");
        let probe = breaker.ask(at(31)).unwrap();
        assert_eq!(breaker.ended(early[4], Crashed, at(32)), None);
        assert_eq!(breaker.ended(probe, Answered, at(33)), Some(Turn::Closed), "nor does a late crash fail the probe");
        assert_eq!(breaker.ended(probe, Crashed, at(34)), None);
        assert!(breaker.is_quiet(), "an end counts once");
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let (mut breaker, _) = after(&[Crashed; 3]);
        let (mut now, mut waits) = (at(0), Vec::new());
        for _ in 0..7 {
            let wait = breaker.ask(now).unwrap_err().unwrap();
            waits.push(wait.as_secs());
            now += wait;
            let probe = breaker.ask(now).unwrap();
            breaker.ended(probe, Crashed, now);
        }
        assert_eq!(waits, [30, 60, 120, 240, 480, 600, 600]);
    }

    proptest! {
        /// Whatever comes in whatever order: while it is not closed at most one call is under way that began
        /// since, no wait is longer than the longest, and opening and closing are told in turns.
        #[test]
        fn one_probe_at_a_time_and_bounded_waits(steps in prop::collection::vec((0_u64..700, 0_usize..8, 0_usize..3), 1..200)) {
            let (mut breaker, mut now) = (Breaker::default(), at(0));
            let mut under_way: Vec<(Permit, bool)> = Vec::new();
            let mut told_open = false;
            for (seconds, which, end) in steps {
                now += at(seconds);
                if which < 4 || under_way.is_empty() {
                    match breaker.ask(now) {
                        Ok(permit) => under_way.push((permit, breaker.is_open())),
                        Err(left) => {
                            prop_assert!(breaker.is_open());
                            prop_assert!(left.is_none_or(|left| left <= LONGEST_WAIT));
                        }
                    }
                } else {
                    let (permit, _) = under_way.remove(which % under_way.len());
                    match breaker.ended(permit, [Answered, Crashed, Unknown][end], now) {
                        Some(Turn::Opened { wait }) => {
                            prop_assert!(!told_open && wait == FIRST_WAIT);
                            told_open = true;
                        }
                        Some(Turn::Closed) => {
                            prop_assert!(told_open);
                            told_open = false;
                        }
                        None => {}
                    }
                }
                prop_assert_eq!(told_open, breaker.is_open());
                let probes = under_way.iter().filter(|(permit, probe)| *probe && permit.era == breaker.era).count();
                prop_assert!(probes <= 1);
            }
        }
    }
}
