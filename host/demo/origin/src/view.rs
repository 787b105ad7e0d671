//! Spells as a table on a terminal. Nothing is here yet.
