//! The way to language models: back ends behind one trait, retries, budgets, and the keys that
//! never leave this room. `service` gives each attempt a [`gateway::Session`].

pub mod backend;
mod chat;
pub mod config;
pub mod estimate;
pub mod gateway;
mod http;
mod lenient;
pub mod openai;
mod redact;
mod responses;
pub mod retry;
pub mod scripted;
