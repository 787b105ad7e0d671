//! What a run may spend. Money is reserved before a call and settled after it, so that calls in
//! flight cannot spend the same remainder twice.

use serde::{Deserialize, Serialize};

use super::assignment::BudgetLeft;
use super::call::Cost;

/// Upper bounds; absent: no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Tokens, input and output together.
    pub tokens: Option<u64>,
    /// Money, in millionths of a US dollar.
    pub cost_microusd: Option<u64>,
    /// Model calls.
    pub calls: Option<u64>,
}

/// An amount of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Tokens, input and output together.
    pub tokens: u64,
    /// Money, in millionths of a US dollar.
    pub cost_microusd: u64,
    /// Model calls.
    pub calls: u64,
}

impl Amount {
    /// What one finished call cost. An unknown price counts as nothing: a money limit asks for known
    /// prices before the first call.
    #[must_use]
    pub fn of_call(cost: &Cost) -> Self {
        Self {
            tokens: cost.input_tokens.saturating_add(cost.output_tokens),
            cost_microusd: cost.cost_microusd.unwrap_or(0),
            calls: 1,
        }
    }

    /// The sum, at most `u64::MAX` of each.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_add(other.tokens),
            cost_microusd: self.cost_microusd.saturating_add(other.cost_microusd),
            calls: self.calls.saturating_add(other.calls),
        }
    }

    const fn minus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_sub(other.tokens),
            cost_microusd: self.cost_microusd.saturating_sub(other.cost_microusd),
            calls: self.calls.saturating_sub(other.calls),
        }
    }
}

/// Which limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// Tokens.
    Tokens,
    /// Money.
    CostMicrousd,
    /// Calls.
    Calls,
}

impl std::fmt::Display for Which {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tokens => "tokens",
            Self::CostMicrousd => "cost_microusd",
            Self::Calls => "calls",
        })
    }
}

/// The rest does not cover what is asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the {which} budget of {limit} does not cover {asked} more: {used} are used and {reserved} are reserved by calls \
     in flight; raise `budget.{which}` to go on"
)]
pub struct Exceeded {
    /// Which limit.
    pub which: Which,
    /// It.
    pub limit: u64,
    /// Spent so far.
    pub used: u64,
    /// Reserved by calls in flight.
    pub reserved: u64,
    /// What the refused call wanted.
    pub asked: u64,
}

/// A part of the budget set aside for one call. Dropped without [`Budget::settle`], it stays set
/// aside: that is right for a call whose answer never came.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a reservation holds its amount until it is settled"]
pub struct Reservation {
    amount: Amount,
}

impl Reservation {
    /// What is set aside.
    #[must_use]
    pub const fn amount(&self) -> Amount {
        self.amount
    }
}

/// Limits, what was spent, what is set aside.
#[derive(Debug, Default)]
pub struct Budget {
    limits: Limits,
    used: Amount,
    reserved: Amount,
}

impl Budget {
    /// A budget of which `used` is spent already (by the run that is resumed, for instance).
    #[must_use]
    pub const fn new(limits: Limits, used: Amount) -> Self {
        Self { limits, used, reserved: Amount { tokens: 0, cost_microusd: 0, calls: 0 } }
    }

    /// Sets `estimate` aside. What is used and set aside never exceeds a limit by this.
    ///
    /// # Errors
    /// [`Exceeded`] names the first limit that does not cover it; nothing is set aside then.
    pub fn reserve(&mut self, estimate: Amount) -> Result<Reservation, Exceeded> {
        let Limits { tokens, cost_microusd, calls } = self.limits;
        let (used, reserved) = (self.used, self.reserved);
        let rows = [
            (Which::Tokens, tokens, used.tokens, reserved.tokens, estimate.tokens),
            (Which::CostMicrousd, cost_microusd, used.cost_microusd, reserved.cost_microusd, estimate.cost_microusd),
            (Which::Calls, calls, used.calls, reserved.calls, estimate.calls),
        ];
        for (which, limit, used, reserved, asked) in rows {
            if let Some(limit) = limit {
                // Zero is always covered: a limit that is spent by one kind of call must not stop
                // calls that do not need it.
                if asked > limit.saturating_sub(used.saturating_add(reserved)) {
                    return Err(Exceeded { which, limit, used, reserved, asked });
                }
            }
        }
        self.reserved = self.reserved.plus(estimate);
        Ok(Reservation { amount: estimate })
    }

    /// Replaces a reservation by what was really spent, which may be more: the answer has been paid.
    pub fn settle(&mut self, reservation: Reservation, actual: Amount) {
        let Reservation { amount } = reservation;
        self.reserved = self.reserved.minus(amount);
        self.used = self.used.plus(actual);
    }

    /// Spent so far.
    #[must_use]
    pub const fn used(&self) -> Amount {
        self.used
    }

    /// Set aside by calls in flight.
    #[must_use]
    pub const fn reserved(&self) -> Amount {
        self.reserved
    }

    /// What another call could still have.
    #[must_use]
    pub fn left(&self) -> BudgetLeft {
        let taken = self.used.plus(self.reserved);
        BudgetLeft {
            tokens: self.limits.tokens.map(|l| l.saturating_sub(taken.tokens)),
            cost_microusd: self.limits.cost_microusd.map(|l| l.saturating_sub(taken.cost_microusd)),
            calls: self.limits.calls.map(|l| u32::try_from(l.saturating_sub(taken.calls)).unwrap_or(u32::MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn amount(tokens: u64) -> Amount {
        Amount { tokens, cost_microusd: tokens / 2, calls: 1 }
    }

    #[test]
    fn what_is_reserved_cannot_be_reserved_again() {
        let mut budget = Budget::new(Limits { tokens: Some(100), ..Limits::default() }, Amount::default());
        let first = budget.reserve(amount(60)).unwrap();
        let refused = budget.reserve(amount(60)).unwrap_err();
        assert_eq!(refused, Exceeded { which: Which::Tokens, limit: 100, used: 0, reserved: 60, asked: 60 });
        budget.settle(first, amount(30));
        let _second = budget.reserve(amount(60)).unwrap();
        assert_eq!(budget.left(), BudgetLeft { tokens: Some(10), cost_microusd: None, calls: None });
    }

    #[test]
    fn each_limit_is_named() {
        let rows = [
            (Limits { tokens: Some(9), ..Limits::default() }, Which::Tokens),
            (Limits { cost_microusd: Some(4), ..Limits::default() }, Which::CostMicrousd),
            (Limits { calls: Some(0), ..Limits::default() }, Which::Calls),
        ];
        for (limits, which) in rows {
            assert_eq!(Budget::new(limits, Amount::default()).reserve(amount(10)).unwrap_err().which, which);
        }
        assert!(Budget::default().reserve(amount(u64::MAX)).is_ok());
    }

    #[test]
    fn a_dropped_reservation_stays_charged() {
        let mut budget = Budget::new(Limits { calls: Some(1), ..Limits::default() }, Amount::default());
        drop(budget.reserve(amount(1)).unwrap());
        assert!(budget.reserve(amount(1)).is_err());
    }

    #[test]
    fn huge_amounts_saturate() {
        let huge = Amount { tokens: u64::MAX, cost_microusd: u64::MAX, calls: u64::MAX };
        let mut budget = Budget::new(Limits { tokens: Some(u64::MAX), ..Limits::default() }, huge);
        assert!(budget.reserve(amount(1)).is_err());
        let none = budget.reserve(Amount::default()).unwrap();
        budget.settle(none, huge);
        assert_eq!(budget.used(), huge);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Reserve(u64),
        /// Settle one in flight at this many per cent of its estimate.
        Settle(prop::sample::Index, u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..200_u64).prop_map(Step::Reserve),
            (any::<prop::sample::Index>(), 0..=200_u64).prop_map(|(which, percent)| Step::Settle(which, percent)),
        ]
    }

    proptest! {
        #[test]
        fn overshoot_never_exceeds_the_reservations_in_flight(
            limit in 0..2_000_u64,
            steps in prop::collection::vec(step(), 0..200),
        ) {
            let mut budget = Budget::new(Limits { tokens: Some(limit), ..Limits::default() }, Amount::default());
            let mut flight: Vec<Reservation> = Vec::new();
            let mut spent = 0;
            // By how much answers so far cost more than was set aside for them.
            let mut underestimated = 0;
            for step in steps {
                match step {
                    Step::Reserve(tokens) => {
                        let room = limit.saturating_sub(budget.used().tokens + budget.reserved().tokens);
                        match budget.reserve(amount(tokens)) {
                            Ok(reservation) => {
                                prop_assert!(tokens <= room);
                                flight.push(reservation);
                            }
                            Err(_) => prop_assert!(tokens > room),
                        }
                    }
                    Step::Settle(which, percent) if !flight.is_empty() => {
                        let reservation = flight.swap_remove(which.index(flight.len()));
                        let estimate = reservation.amount().tokens;
                        let actual = estimate * percent / 100;
                        spent += actual;
                        underestimated += actual.saturating_sub(estimate);
                        budget.settle(reservation, amount(actual));
                    }
                    Step::Settle(..) => {}
                }
                prop_assert_eq!(budget.used().tokens, spent);
                prop_assert_eq!(budget.reserved().tokens, flight.iter().map(|r| r.amount().tokens).sum::<u64>());
                prop_assert!(spent + budget.reserved().tokens <= limit + underestimated);
            }
        }
    }
}
