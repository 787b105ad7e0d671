//! One batch: a chain of merges on the target, and the search for its longest green prefix.

/// Gates of one batch beyond twice the halvings of its chain: the tip, its second try, and one more of each.
const GATES_BESIDE: u32 = 4;

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Merge this member on the last link of the chain; on the target, when there is none.
    Merge {
        /// Which, as they were given.
        member: usize,
    },
    /// Gate the tree of this link.
    Gate {
        /// Which, from the first of the chain.
        link: usize,
    },
    /// Nothing: it has [ended](Batch::ended).
    End,
}

/// Why a member is returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It conflicts with what is on the target.
    Conflict,
    /// The gate is green with those before it and red with it.
    Red {
        /// Its link.
        link: usize,
    },
}

/// What came of a batch. Every member stands in one of the three.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// Land these, in this order: the chain up to the last of them is green.
    pub landed: Vec<usize>,
    /// Return these.
    pub returned: Vec<(usize, Reason)>,
    /// Nothing is decided about these: they wait again.
    pub undecided: Vec<usize>,
}

/// A link of the chain: a member that was merged.
#[derive(Debug)]
struct Link {
    member: usize,
    green: bool,
    /// How often its gate was red since it was green last.
    reds: u32,
}

/// A batch in the making.
#[derive(Debug)]
pub struct Batch {
    members: usize,
    /// The next one to merge.
    next: usize,
    chain: Vec<Link>,
    conflicts: Vec<usize>,
    aside: Vec<usize>,
    gates: u32,
    flakes: u32,
}

impl Batch {
    /// A batch of so many members, in the order in which they are to land.
    #[must_use]
    pub const fn new(members: usize) -> Self {
        Self { members, next: 0, chain: Vec::new(), conflicts: Vec::new(), aside: Vec::new(), gates: 0, flakes: 0 }
    }

    /// What is to be done now.
    #[must_use]
    pub fn next(&self) -> Next {
        if self.next < self.members {
            return Next::Merge { member: self.next };
        }
        let Some(last) = self.chain.len().checked_sub(1) else { return Next::End };
        let green = self.green_links();
        if green > last {
            return Next::End;
        }
        let Some(red) = (green..=last).find(|link| self.chain[*link].reds > 0) else {
            return Next::Gate { link: last };
        };
        // The tip of the batch, once more: a flake must not cost halvings.
        if red == last && self.chain[last].reds == 1 {
            return Next::Gate { link: last };
        }
        // Enough is known to land something, and the gate cannot make up its mind.
        if green > 0 && self.gates >= self.most_gates() {
            return Next::End;
        }
        match red - green {
            // Nobody is returned because of a gate that was red once.
            0 if self.chain[red].reds == 1 => Next::Gate { link: red },
            0 => Next::End,
            between => Next::Gate { link: green + between.div_ceil(2) - 1 },
        }
    }

    /// The member that was to be merged fits. `green`: its tree was found green before.
    pub fn merged(&mut self, green: bool) {
        self.chain.push(Link { member: self.next, green, reds: 0 });
        self.next += 1;
    }

    /// It does not. `with_target`: also not with the target alone. What conflicts only with members of the same
    /// batch waits until they have landed, or not.
    pub fn conflicted(&mut self, with_target: bool) {
        let list = if with_target || self.chain.is_empty() { &mut self.conflicts } else { &mut self.aside };
        list.push(self.next);
        self.next += 1;
    }

    /// Whether the member that is merged next stands on the target itself.
    #[must_use]
    pub fn is_on_target(&self) -> bool {
        self.chain.is_empty()
    }

    /// The gate over the tree of `link` has ended.
    pub fn gated(&mut self, link: usize, green: bool) {
        self.gates += 1;
        let Some(link) = self.chain.get_mut(link) else { return };
        if green {
            self.flakes += u32::from(link.reds > 0);
            (link.green, link.reds) = (true, 0);
        } else {
            link.reds += 1;
        }
    }

    /// Gates that ran.
    #[must_use]
    pub const fn gates(&self) -> u32 {
        self.gates
    }

    /// Gates that were red, and green over the same tree.
    #[must_use]
    pub const fn flakes(&self) -> u32 {
        self.flakes
    }

    /// The member of a link.
    #[must_use]
    pub fn member_of(&self, link: usize) -> Option<usize> {
        self.chain.get(link).map(|link| link.member)
    }

    /// What came of it; meant to be asked at [`Next::End`]. Before that, what is not decided yet is undecided.
    #[must_use]
    pub fn ended(&self) -> Ended {
        let green = self.green_links();
        let mut ended = Ended {
            landed: self.chain[..green].iter().map(|link| link.member).collect(),
            returned: self.conflicts.iter().map(|member| (*member, Reason::Conflict)).collect(),
            undecided: self.aside.clone(),
        };
        let mut rest = self.chain[green..].iter();
        if self.next == self.members && self.chain.get(green).is_some_and(|link| link.reds > 1) {
            ended.returned.extend(rest.next().map(|link| (link.member, Reason::Red { link: green })));
        }
        ended.undecided.extend(rest.map(|link| link.member));
        ended.undecided.extend(self.next..self.members);
        ended.undecided.sort_unstable();
        ended
    }

    /// Links up to the last one that is known to be green: what lands is the tree of that one.
    fn green_links(&self) -> usize {
        self.chain.iter().rposition(|link| link.green).map_or(0, |last| last + 1)
    }

    /// So many gates at most, once there is something to land.
    fn most_gates(&self) -> u32 {
        2 * self.chain.len().next_power_of_two().trailing_zeros() + GATES_BESIDE
    }
}
