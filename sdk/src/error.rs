//! Errors of the contract as errors of Rust: `?` leads from a host call to a failure of the plugin, and both can be
//! asked what they are.

use crate::{Failure, HostError, error_text};

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        Self::Host(error)
    }
}

impl HostError {
    /// The words of the host, without the kind of error.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Denied(text)
            | Self::NotFound(text)
            | Self::Conflict(text)
            | Self::BudgetExceeded(text)
            | Self::TimedOut(text)
            | Self::Cancelled(text)
            | Self::Invalid(text)
            | Self::Uncertain(text)
            | Self::Other(text) => text,
        }
    }

    /// The plugin may not do this, whatever it tries: the operator has not granted it.
    #[must_use]
    pub const fn is_denied(&self) -> bool {
        matches!(self, Self::Denied(_))
    }

    /// What was asked for is not there.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound(_))
    }

    /// Nothing that the plugin does next can help: the attempt is over, or the money is.
    #[must_use]
    pub const fn ends_the_attempt(&self) -> bool {
        matches!(self, Self::BudgetExceeded(_) | Self::Cancelled(_))
    }
}

impl Failure {
    /// The input, settings or state cannot be worked with.
    pub fn invalid(reason: impl Into<String>) -> Self {
        Self::Invalid(reason.into())
    }

    /// The work could not be finished within the plugin's own bounds.
    pub fn gave_up(reason: impl Into<String>) -> Self {
        Self::GaveUp(reason.into())
    }

    /// In words, with the kind of failure in front.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Host(error) => error_text(error),
            Self::Invalid(text) => format!("invalid: {text}"),
            Self::GaveUp(text) => format!("gave up: {text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read() -> Result<String, HostError> {
        Err(HostError::NotFound("there is no a".to_owned()))
    }

    fn perform() -> Result<String, Failure> {
        Ok(read()?)
    }

    #[test]
    fn a_host_error_becomes_a_failure_by_itself() {
        let failure = perform().unwrap_err();
        assert_eq!(failure.text(), "not found: there is no a");
        let Failure::Host(error) = failure else { panic!("another failure") };
        assert!(error.is_not_found() && !error.is_denied() && !error.ends_the_attempt());
        assert_eq!(error.text(), "there is no a");
        let error: &dyn std::error::Error = &Failure::invalid("x");
        assert!(error.to_string().contains('x'));
    }
}
