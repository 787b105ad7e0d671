//! necro-host: turns a job description into reviewed, merged commits through sandboxed spirits.
//!
//! The layers, from the top; each uses only those below it:
//! `cli` → `service` → {`registry`, `spec`, `workspace`, `sandbox`, `llm`, `artifact`, `plugin`,
//! `config`} → `store` → {`clock`, `failpoint`} → `domain`.

pub mod artifact;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod failpoint;
pub mod llm;
pub mod plugin;
pub mod registry;
pub mod sandbox;
pub mod service;
pub mod spec;
pub mod store;
pub mod workspace;
