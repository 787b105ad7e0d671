//! What the loop asks of its host: the component's imports, or a fake in tests.

use crate::HostError;
use crate::host::{command, llm, registry, workspace, workspace_edit};

/// Host functions that the loop uses, as in `wit/`.
pub trait Host {
    /// One completion.
    ///
    /// # Errors
    /// As the host answers; the same holds for the functions below.
    fn complete(&mut self, request: &llm::Request) -> Result<llm::Completion, HostError>;
    /// Entries of a directory.
    fn list(&mut self, path: &str, recursive: bool) -> Result<Vec<workspace::Entry>, HostError>;
    /// Text of a file or of a part of it.
    fn read(&mut self, path: &str, lines: Option<workspace::LineRange>) -> Result<workspace::FileText, HostError>;
    /// Lines that match.
    fn search(&mut self, query: &workspace::SearchQuery) -> Result<Vec<workspace::SearchHit>, HostError>;
    /// Write a whole file.
    fn write(&mut self, path: &str, text: &str) -> Result<(), HostError>;
    /// All edits or none.
    fn apply(&mut self, edits: &[workspace_edit::Edit]) -> Result<(), HostError>;
    /// Remove a file.
    fn remove(&mut self, path: &str) -> Result<(), HostError>;
    /// Run a named command.
    fn run(&mut self, name: &str, args: &[String]) -> Result<command::Outcome, HostError>;
    /// Leave a note for people on the task.
    fn note(&mut self, text: &str) -> Result<(), HostError>;
}

/// The component's imports. Natively there is no host behind them, and a call ends the process.
#[derive(Debug, Clone, Copy)]
pub struct Imports;

impl Host for Imports {
    fn complete(&mut self, request: &llm::Request) -> Result<llm::Completion, HostError> {
        llm::complete(request)
    }

    fn list(&mut self, path: &str, recursive: bool) -> Result<Vec<workspace::Entry>, HostError> {
        workspace::list(path, recursive)
    }

    fn read(&mut self, path: &str, lines: Option<workspace::LineRange>) -> Result<workspace::FileText, HostError> {
        workspace::read(path, lines)
    }

    fn search(&mut self, query: &workspace::SearchQuery) -> Result<Vec<workspace::SearchHit>, HostError> {
        workspace::search(query)
    }

    fn write(&mut self, path: &str, text: &str) -> Result<(), HostError> {
        workspace_edit::write(path, text)
    }

    fn apply(&mut self, edits: &[workspace_edit::Edit]) -> Result<(), HostError> {
        workspace_edit::apply(edits)
    }

    fn remove(&mut self, path: &str) -> Result<(), HostError> {
        workspace_edit::remove(path)
    }

    fn run(&mut self, name: &str, args: &[String]) -> Result<command::Outcome, HostError> {
        command::run(name, args)
    }

    fn note(&mut self, text: &str) -> Result<(), HostError> {
        registry::note(text)
    }
}
