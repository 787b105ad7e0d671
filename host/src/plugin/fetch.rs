//! Components from the network: whole, of bearable size, and only as the bytes whose digest the caller knows.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Url};

use super::load::MAX_COMPONENT_BYTES;
use crate::domain::id::Digest;
use crate::store::digest_of;

/// The whole transfer may take this long.
const TIMEOUT: Duration = Duration::from_secs(300);
/// So many servers may send it on to the next; the digest says whether the last one has the right bytes.
const MAX_REDIRECTS: usize = 5;

/// Why a component was not fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// No address that is fetched from.
    #[error("`{url}` is not fetched from: {reason}")]
    Address {
        /// What was named, without a password.
        url: String,
        /// Why not.
        reason: &'static str,
    },
    /// The server does not give it.
    #[error("`{url}` cannot be fetched: {reason}")]
    Failed {
        /// The address.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// More bytes than a component may have.
    #[error("`{url}` gives more than the {MAX_COMPONENT_BYTES} bytes that a component may have")]
    TooLarge {
        /// The address.
        url: String,
    },
    /// Other bytes.
    #[error("`{url}` gives other bytes: their SHA-256 is {found}, {wanted} is wanted")]
    Other {
        /// The address.
        url: String,
        /// What came.
        found: Digest,
        /// What was to come.
        wanted: Digest,
    },
}

/// Whether a source is fetched, and not read from a file.
#[must_use]
pub fn is_url(source: &str) -> bool {
    source.starts_with("https://") || source.starts_with("http://")
}

/// Fetches the component with this digest.
///
/// # Errors
/// [`FetchError`]; nothing is kept then.
pub async fn fetch(source: &str, wanted: &Digest) -> Result<Vec<u8>, FetchError> {
    let url = checked(source)?;
    let failed = |error: reqwest::Error| FetchError::Failed { url: source.to_owned(), reason: reason(&error) };
    let client = Client::builder()
        .timeout(TIMEOUT)
        .redirect(Policy::custom(|attempt| {
            if attempt.previous().len() > MAX_REDIRECTS {
                return attempt.error("too many redirects");
            }
            let as_before = attempt.previous().first().is_some_and(|first| first.scheme() == attempt.url().scheme());
            if as_before && is_private_enough(attempt.url()) {
                attempt.follow()
            } else {
                attempt.error("a redirect leaves https")
            }
        }))
        .user_agent(concat!("necro-host/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(failed)?;
    let mut response = client.get(url).send().await.and_then(reqwest::Response::error_for_status).map_err(failed)?;
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if bytes.len() + chunk.len() > MAX_COMPONENT_BYTES {
            return Err(FetchError::TooLarge { url: source.to_owned() });
        }
        bytes.extend_from_slice(&chunk);
    }
    let found = digest_of(&bytes);
    if found != *wanted {
        return Err(FetchError::Other { url: source.to_owned(), found, wanted: wanted.clone() });
    }
    Ok(bytes)
}

fn checked(source: &str) -> Result<Url, FetchError> {
    let refused = |reason| FetchError::Address { url: source.to_owned(), reason };
    let url = Url::parse(source).map_err(|_| refused("it is no URL"))?;
    if !url.username().is_empty() || url.password().is_some() {
        let mut bare = url;
        // An address with a host takes both.
        let _ = (bare.set_username(""), bare.set_password(None));
        let reason = "a name or password in it would stand in the lock file";
        return Err(FetchError::Address { url: bare.into(), reason });
    }
    if !is_private_enough(&url) {
        return Err(refused("only https is, and http on this machine"));
    }
    Ok(url)
}

fn is_private_enough(url: &Url) -> bool {
    let local = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    url.scheme() == "https" || url.scheme() == "http" && local
}

fn reason(error: &reqwest::Error) -> String {
    let mut causes: Vec<String> = Vec::new();
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(cause) = next {
        // The address stands in the sentence already.
        causes.push(
            cause.to_string().replace(&error.url().map(|url| format!(" for url ({url})")).unwrap_or_default(), ""),
        );
        next = cause.source();
    }
    causes.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_addresses_that_keep_their_promise_are_fetched_from() {
        let wanted = digest_of(b"x");
        for (source, expected) in [
            ("http://example.org/x.wasm", "only https is"),
            ("https://me:secret@example.org/x.wasm", "would stand in the lock file"),
            ("https://", "it is no URL"),
            ("http://127.0.0.1:1/x.wasm", "cannot be fetched"),
        ] {
            let error = fetch(source, &wanted).await.unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("secret"), "{error}");
        }
        assert!(is_url("https://x") && !is_url("./https"));
    }
}
