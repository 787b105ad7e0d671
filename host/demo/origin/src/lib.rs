//! A wizard's spellbook.

pub mod search;
pub mod spell;
pub mod store;
pub mod suggest;
pub mod view;
