//! Components: loading, limits, host calls. `capability` says what a host offers to guests;
//! `service` implements it.

pub mod capability;
