//! Scheduling in fair shares: of the specs that have ready tasks, the one that has had the fewest starts is
//! served next. What each has had is the state that goes from round to round, as the lead over the last one.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use necro_sdk::scheduling::{Placement, Plan, Pool, ReadyTask, Rooms, ordered, urgency};
use necro_sdk::{Failure, SchedulingPolicy, Settings};
use serde::Deserialize;

/// Bytes of state; the host allows 4,096.
const MAX_STATE_BYTES: usize = 4_000;

/// What an operator may set.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    /// A spec that has had this many starts more than another is no further behind: what it owes is
    /// forgotten.
    max_lead: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_lead: 20 }
    }
}

/// Starts that a spec has had more than the one with the fewest.
type Leads = BTreeMap<String, u32>;

/// The policy.
#[derive(Debug)]
pub struct FairShare;

impl SchedulingPolicy for FairShare {
    fn order(ready: &[ReadyTask], pools: &[Pool], settings: &Settings, state: &str) -> Result<Plan, Failure> {
        let options: Options = settings.read()?;
        let mut leads = read(state)?;
        let mut waiting: BTreeMap<&str, Vec<&ReadyTask>> = BTreeMap::new();
        for task in ordered(ready, urgency) {
            waiting.entry(&task.spec).or_default().push(task);
        }
        // Who is new begins level with those that have had the least.
        let least = waiting.keys().filter_map(|spec| leads.get(*spec)).min().copied().unwrap_or(0);
        for spec in waiting.keys() {
            leads.entry((*spec).to_owned()).or_insert(least);
        }
        let mut rooms = Rooms::new(pools);
        let mut placements = Vec::new();
        while let Some((spec, placement)) = next(&mut waiting, &leads, &mut rooms) {
            let lead = leads.entry(spec).or_insert(0);
            *lead = lead.saturating_add(1);
            placements.push(placement);
        }
        let waiting = waiting.into_keys().map(str::to_owned).collect();
        Ok(Plan { placements, state: written(leads, &waiting, options.max_lead) })
    }
}

/// A task of the spec with the smallest lead that has one for which there is room, and that spec.
fn next(
    waiting: &mut BTreeMap<&str, Vec<&ReadyTask>>,
    leads: &Leads,
    rooms: &mut Rooms<'_>,
) -> Option<(String, Placement)> {
    let mut specs: Vec<&str> = waiting.keys().copied().collect();
    specs.sort_by_key(|spec| (leads.get(*spec).copied().unwrap_or(0), *spec));
    for spec in specs {
        let tasks = waiting.get_mut(spec)?;
        let placed = tasks.iter().enumerate().find_map(|(index, task)| Some((index, rooms.place(task)?)));
        if let Some((index, placement)) = placed {
            tasks.remove(index);
            return Some((spec.to_owned(), placement));
        }
    }
    None
}

fn read(state: &str) -> Result<Leads, Failure> {
    if state.is_empty() {
        return Ok(Leads::new());
    }
    serde_json::from_str(state).map_err(|e| Failure::Invalid(format!("state: {e}")))
}

/// The leads as state, over the smallest of those who wait and at most `max_lead`. When there is no room for
/// all, those who wait stay, and of them those that are ahead; a spec that is left out counts as new.
fn written(leads: Leads, waiting: &BTreeSet<String>, max_lead: u32) -> String {
    let waits = |spec: &String| waiting.contains(spec);
    let least = leads.iter().filter(|(spec, _)| waits(spec)).map(|(_, lead)| *lead).min().unwrap_or(0);
    let over = leads.into_iter().map(|(spec, lead)| (lead.saturating_sub(least).min(max_lead), spec));
    let mut over: Vec<(u32, String)> = over.filter(|(lead, spec)| *lead > 0 || waits(spec)).collect();
    over.sort_by(|(lead, a), (other, b)| (waits(b), other, a).cmp(&(waits(a), lead, b)));
    let mut kept = Leads::new();
    let mut bytes = 2;
    for (lead, spec) in over {
        // Name in JSON, colon, number, comma.
        let name = serde_json::to_string(&spec).map_or(MAX_STATE_BYTES, |name| name.len());
        bytes += name + lead.to_string().len() + 2;
        if bytes > MAX_STATE_BYTES {
            break;
        }
        kept.insert(spec, lead);
    }
    if kept.is_empty() { String::new() } else { serde_json::to_string(&kept).unwrap_or_default() }
}

necro_sdk::export_scheduling!(FairShare);

#[cfg(test)]
mod tests;
