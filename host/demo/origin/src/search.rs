//! Looking spells up. Nothing is here yet.
