//! necro-host: turns a job description into reviewed, merged commits through sandboxed spirits.
//!
//! The layers, from the top; each uses only those below it:
//! `cli` → `service` → {`registry`, `spec`, `workspace`, `sandbox`, `llm`, `artifact`, `plugin`,
//! `config`} → {`store`, `clock`} → `domain`.

pub mod clock;
pub mod domain;
pub mod plugin;
pub mod sandbox;
pub mod workspace;
