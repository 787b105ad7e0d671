//! Whether a failed call is made again, and when. Pure: the gateway does the waiting.

use std::time::Duration;

use super::backend::{CallPosition, LlmError};

/// Tries at one call, the first included.
pub const MAX_TRIES: u32 = 4;
/// Tries at a call whose answers arrive, are paid and make no sense.
pub const MAX_MALFORMED_TRIES: u32 = 2;
/// All the waiting for one call together.
pub const MAX_TOTAL_WAIT: Duration = Duration::from_secs(120);
/// The wait after the first failure; it doubles with each further one.
pub const BASE_WAIT: Duration = Duration::from_millis(500);
/// The longest wait that was not asked for by the server.
pub const MAX_BACKOFF: Duration = Duration::from_secs(20);

/// What to do about a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// Wait this long, then try again.
    Retry(Duration),
    /// Give the error back.
    Fail,
}

/// Decides after the `tries`-th try (from 1), when `waited` was waited for this call already.
/// `jitter` is 0‥=255 and stretches a wait of our own by up to a half, so that many spirits that
/// failed together do not come back together; a wait that the server asked for is taken as it is.
pub fn decide(error: &LlmError, tries: u32, waited: Duration, jitter: u8) -> Decision {
    let allowed = match error {
        LlmError::Connect { .. } | LlmError::Cut { .. } => MAX_TRIES,
        LlmError::Status { status, code, .. } if retryable(*status, code.as_deref()) => MAX_TRIES,
        LlmError::Malformed { .. } => MAX_MALFORMED_TRIES,
        LlmError::Status { .. }
        | LlmError::TimedOut { .. }
        | LlmError::Redirected { .. }
        | LlmError::TooLarge { .. }
        | LlmError::NotJson { .. }
        | LlmError::Unsendable { .. }
        | LlmError::NoReply { .. } => return Decision::Fail,
    };
    if tries >= allowed {
        return Decision::Fail;
    }
    let delay = match error {
        LlmError::Status { retry_after: Some(asked), .. } => *asked,
        _ => backoff(tries, jitter),
    };
    if waited.saturating_add(delay) > MAX_TOTAL_WAIT { Decision::Fail } else { Decision::Retry(delay) }
}

/// A number that differs between calls and not between runs.
#[must_use]
pub fn jitter(position: &CallPosition, tries: u32) -> u8 {
    let text = format!("{position} {tries}");
    text.bytes().fold(0_u8, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte))
}

fn backoff(tries: u32, jitter: u8) -> Duration {
    let doubled = BASE_WAIT.saturating_mul(1_u32.checked_shl(tries.saturating_sub(1)).unwrap_or(u32::MAX));
    let base = doubled.min(MAX_BACKOFF);
    base + base * u32::from(jitter) / 510
}

fn retryable(status: u16, code: Option<&str>) -> bool {
    // An exhausted account answers 429 too, and does not recover by waiting.
    if matches!(code, Some("insufficient_quota" | "billing_hard_limit_reached" | "billing_not_active")) {
        return false;
    }
    match status {
        408 | 409 | 425 | 429 => true,
        501 | 505 => false,
        500..=599 => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::llm::Usage;
    use proptest::prelude::*;

    fn status(status: u16, retry_after_s: Option<u64>) -> LlmError {
        let retry_after = retry_after_s.map(Duration::from_secs);
        LlmError::Status { status, code: None, message: String::new(), retry_after }
    }

    #[test]
    fn only_failures_that_can_pass_are_retried() {
        for code in [400, 401, 403, 404, 405, 413, 422, 501, 505] {
            assert_eq!(decide(&status(code, None), 1, Duration::ZERO, 0), Decision::Fail, "{code}");
        }
        for code in [408, 409, 425, 429, 500, 502, 503, 504, 529] {
            assert_eq!(decide(&status(code, None), 1, Duration::ZERO, 0), Decision::Retry(BASE_WAIT), "{code}");
        }
    }

    #[test]
    fn an_exhausted_account_is_not_asked_again() {
        let error = LlmError::Status {
            status: 429,
            code: Some("insufficient_quota".into()),
            message: String::new(),
            retry_after: None,
        };
        assert_eq!(decide(&error, 1, Duration::ZERO, 0), Decision::Fail);
    }

    #[test]
    fn the_wait_that_the_server_asks_for_is_kept_unless_it_is_too_long() {
        assert_eq!(decide(&status(429, Some(7)), 1, Duration::ZERO, 200), Decision::Retry(Duration::from_secs(7)));
        assert_eq!(decide(&status(429, Some(121)), 1, Duration::ZERO, 0), Decision::Fail);
        assert_eq!(decide(&status(429, Some(70)), 2, Duration::from_secs(70), 0), Decision::Fail);
    }

    #[test]
    fn a_paid_answer_that_makes_no_sense_is_asked_for_once_more() {
        let error = LlmError::Malformed { reason: String::new(), usage: Usage::default() };
        assert!(matches!(decide(&error, 1, Duration::ZERO, 0), Decision::Retry(_)));
        assert_eq!(decide(&error, 2, Duration::ZERO, 0), Decision::Fail);
    }

    proptest! {
        #[test]
        fn tries_and_waits_are_bounded(
            code in 400_u16..600, after in proptest::option::of(0_u64..1000), jitter: u8,
        ) {
            let (mut tries, mut waited) = (1, Duration::ZERO);
            while let Decision::Retry(delay) = decide(&status(code, after), tries, waited, jitter) {
                waited += delay;
                tries += 1;
                prop_assert!(tries <= MAX_TRIES && waited <= MAX_TOTAL_WAIT);
            }
        }
    }
}
