//! The integration queue's decisions: whose turn it is, what is merged with what, which merged tree is gated,
//! what lands and who is returned. Pure: whoever merges and gates asks here what to do next, and says how it went.
//!
//! What comes of a batch is what would come of its members one by one, in their order, with fewer gates: only the
//! tree of the last link of the chain is gated, and when that is red, its prefixes by halving.

mod batch;

pub use batch::{Batch, Ended, Next, Reason};

/// Places in the order that a return is worth: one who was returned comes before so many who arrived earlier and
/// were not.
pub const PLACES_PER_RETURN: u64 = 16;
/// Returns beyond this count no more: it bounds by how many a waiting one can be overtaken.
pub const MAX_COUNTED_RETURNS: u32 = 10;

/// One that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<T> {
    /// What waits.
    pub what: T,
    /// Its number in the order of arrival.
    arrival: u64,
    /// Place in the order.
    place: i128,
}

impl<T> Entry<T> {
    /// Its number in the order of arrival.
    #[must_use]
    pub const fn arrival(&self) -> u64 {
        self.arrival
    }
}

/// Those that wait, in a fair order: by arrival, with each return moving a candidate forward by
/// [`PLACES_PER_RETURN`]. Since both are bounded, one that waits is overtaken by at most
/// `PLACES_PER_RETURN * MAX_COUNTED_RETURNS` others, however many arrive.
#[derive(Debug)]
pub struct Waiting<T> {
    entries: Vec<Entry<T>>,
    arrived: u64,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), arrived: 0 }
    }
}

impl<T> Waiting<T> {
    /// Somebody arrives whose work was returned `returns` times before.
    pub fn push(&mut self, what: T, returns: u32) {
        let arrival = self.arrived;
        self.arrived += 1;
        let head_start = u64::from(returns.min(MAX_COUNTED_RETURNS)) * PLACES_PER_RETURN;
        self.insert(Entry { what, arrival, place: i128::from(arrival) - i128::from(head_start) });
    }

    /// Somebody about whom nothing was decided waits again, where it stood.
    pub fn put_back(&mut self, entry: Entry<T>) {
        self.insert(entry);
    }

    fn insert(&mut self, entry: Entry<T>) {
        let key = |entry: &Entry<T>| (entry.place, entry.arrival);
        let at = self.entries.partition_point(|before| key(before) < key(&entry));
        self.entries.insert(at, entry);
    }

    /// Takes the first of the order, at most `max` of them.
    pub fn take(&mut self, max: usize) -> Vec<Entry<T>> {
        self.entries.drain(..max.min(self.entries.len())).collect()
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets them all.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests;
