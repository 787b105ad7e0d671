//! The HTTP layer below async-openai: one request is one exchange (no hidden retries), no redirect
//! is followed, answers are bounded, and the library, which logs bodies that it cannot use, gets only
//! those that it can.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_openai::config::Config;
use async_openai::error::OpenAIError;
use async_openai::middleware::HttpRequestFactory;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Response, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::backend::LlmError;
use super::estimate;
use super::redact::excerpt;
use crate::domain::llm::Usage;
use crate::domain::mask::Mask;

/// Largest answer that is read.
pub(crate) const MAX_ANSWER_BYTES: u64 = 16 * 1024 * 1024;
/// Largest part of an error's body that is read.
const MAX_ERROR_BYTES: u64 = 64 * 1024;
/// Characters of a server's words that go into an error.
const MAX_EXCERPT_CHARS: usize = 600;
/// Idle connections that are kept for the next call.
const IDLE_CONNECTIONS: usize = 8;

/// Where and how to send.
#[derive(Clone)]
pub(crate) struct Endpoint {
    base: Url,
    key: Option<SecretString>,
    authorization: Option<HeaderValue>,
    /// async-openai asks for a key that our headers do not use.
    no_key: SecretString,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("base", &self.base.as_str()).field("key", &self.key.is_some()).finish()
    }
}

/// Why an endpoint cannot be used. Never shows the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The base URL.
    #[error("the base URL `{url}` {reason}")]
    BaseUrl {
        /// As given, without user name and password.
        url: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// The key.
    #[error("the API key {reason}")]
    Key {
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// The HTTP client.
    #[error("the HTTP client cannot be made: {reason}")]
    Client {
        /// The library's words.
        reason: String,
    },
}

impl Endpoint {
    /// Checks base URL and key.
    pub(crate) fn new(base_url: &str, key: Option<SecretString>) -> Result<Self, EndpointError> {
        let refused = |url: &str, reason| EndpointError::BaseUrl { url: url.to_owned(), reason };
        // A text that is no URL may hold anything, a key too: it is not repeated.
        let mut base = Url::parse(base_url.trim()).map_err(|_| refused("…", "is no absolute URL"))?;
        if !base.username().is_empty() || base.password().is_some() {
            return Err(refused("…", "has a user name or password in it; give the key by its environment variable"));
        }
        if !matches!(base.scheme(), "http" | "https") {
            return Err(refused(base.as_str(), "is neither http nor https"));
        }
        if base.query().is_some() || base.fragment().is_some() {
            base.set_query(None);
            base.set_fragment(None);
            return Err(refused(base.as_str(), "has a query or a fragment, which the API's paths cannot follow"));
        }
        let authorization = key.as_ref().map(authorization).transpose()?;
        Ok(Self { base, key, authorization, no_key: SecretString::from("") })
    }

    /// Scheme, host and port.
    pub(crate) fn origin(&self) -> String {
        origin(&self.base)
    }

    /// Host and, when it is unusual, port.
    pub(crate) fn host(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        self.base.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// Whether it is on this machine. Proxies are for everything else.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.base.host_str().unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost")
            || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

fn authorization(key: &SecretString) -> Result<HeaderValue, EndpointError> {
    let text = key.expose_secret();
    if text.is_empty() {
        return Err(EndpointError::Key { reason: "is empty" });
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        let reason = "has white space, a line break or a character outside ASCII in it";
        return Err(EndpointError::Key { reason });
    }
    if text.len() < Mask::MIN_CHARS {
        return Err(EndpointError::Key { reason: "is too short to be told apart from ordinary text" });
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {text}"))
        .map_err(|_| EndpointError::Key { reason: "cannot be put into a header" })?;
    value.set_sensitive(true);
    Ok(value)
}

impl Config for Endpoint {
    fn headers(&self) -> HeaderMap {
        self.authorization.iter().map(|value| (AUTHORIZATION, value.clone())).collect()
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base.as_str().trim_end_matches('/'))
    }

    fn query(&self) -> Vec<(&str, &str)> {
        Vec::new()
    }

    fn api_base(&self) -> &str {
        self.base.as_str()
    }

    fn api_key(&self) -> &SecretString {
        self.key.as_ref().unwrap_or(&self.no_key)
    }
}

/// Time limits of one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpLimits {
    /// To a connection, TLS included.
    pub connect: Duration,
    /// To the last byte of the answer.
    pub total: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), total: Duration::from_secs(300) }
    }
}

/// The HTTP client for an endpoint. Proxies come from the environment by the usual variables, and
/// are never used for this machine itself.
pub(crate) fn client(endpoint: &Endpoint, limits: HttpLimits) -> Result<reqwest::Client, EndpointError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("necro-host/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(limits.connect)
        .timeout(limits.total)
        .pool_max_idle_per_host(IDLE_CONNECTIONS);
    if endpoint.is_loopback() {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| EndpointError::Client { reason: innermost(&error) })
}

/// The transport under async-openai. It turns everything but a JSON answer into an [`LlmError`].
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    client: reqwest::Client,
    endpoint: Endpoint,
    mask: Mask,
    limits: HttpLimits,
}

impl Transport {
    pub(crate) const fn new(client: reqwest::Client, endpoint: Endpoint, mask: Mask, limits: HttpLimits) -> Self {
        Self { client, endpoint, mask, limits }
    }

    /// A GET with the key; for probing.
    pub(crate) async fn get(&self, path: &str) -> Result<Vec<u8>, LlmError> {
        let request = self.client.get(self.endpoint.url(path)).headers(self.endpoint.headers());
        let request = request.build().map_err(|error| LlmError::Unsendable { reason: innermost(&error) })?;
        Ok(self.exchange(request).await?.body)
    }

    async fn exchange(&self, request: reqwest::Request) -> Result<Answer, LlmError> {
        let response = self.client.execute(request).await.map_err(|error| self.failed(&error))?;
        let status = response.status().as_u16();
        if response.status().is_redirection() {
            return Err(LlmError::Redirected { status, location: self.target(&response) });
        }
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        let announced = response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
        let content_type = excerpt(&self.mask, announced.unwrap_or("without a content type"), 100);
        let body = self.body(response, MAX_ANSWER_BYTES).await?;
        let text = String::from_utf8_lossy(&body);
        if let Err(error) = serde_json::from_str::<Value>(&text) {
            let output_tokens = estimate::text_tokens(&text);
            let usage = Usage { output_tokens, estimated: true, ..Usage::default() };
            let start = excerpt(&self.mask, &text, 200);
            let start = if start.is_empty() { "an empty body".to_owned() } else { start };
            let start = if error.is_eof() { format!("{start} (it breaks off)") } else { start };
            return Err(LlmError::NotJson { content_type, excerpt: start, usage });
        }
        Ok(Answer { body: text.into_owned().into_bytes() })
    }

    fn failed(&self, error: &reqwest::Error) -> LlmError {
        let reason = excerpt(&self.mask, &innermost(error), MAX_EXCERPT_CHARS);
        let endpoint = self.endpoint.origin();
        if error.is_connect() {
            LlmError::Connect { endpoint, reason }
        } else if error.is_timeout() {
            LlmError::TimedOut { limit_s: self.limits.total.as_secs() }
        } else if error.is_builder() {
            LlmError::Unsendable { reason }
        } else {
            LlmError::Cut { endpoint, reason }
        }
    }

    fn target(&self, response: &Response) -> String {
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let url = location.and_then(|text| response.url().join(text).ok());
        let text = url.map_or_else(|| "nowhere".to_owned(), |url| origin(&url));
        excerpt(&self.mask, &text, MAX_EXCERPT_CHARS)
    }

    async fn refusal(&self, response: Response) -> LlmError {
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        // The status is known; a body that cannot be read does not change it.
        let body = self.prefix(response, MAX_ERROR_BYTES).await;
        let text = String::from_utf8_lossy(&body);
        let json: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        let (code, message) = super::lenient::error_of(&json);
        let message = message
            .unwrap_or_else(|| if text.trim().is_empty() { "nothing more".to_owned() } else { text.into_owned() });
        LlmError::Status {
            status,
            code: code.map(|code| excerpt(&self.mask, &code, 100)),
            message: excerpt(&self.mask, &message, MAX_EXCERPT_CHARS),
            retry_after,
        }
    }

    async fn body(&self, mut response: Response, limit_bytes: u64) -> Result<Vec<u8>, LlmError> {
        let too_large = LlmError::TooLarge { limit_bytes };
        if response.content_length().is_some_and(|length| length > limit_bytes) {
            return Err(too_large);
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(&error))? {
            if body.len() as u64 + chunk.len() as u64 > limit_bytes {
                return Err(too_large);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    async fn prefix(&self, mut response: Response, limit_bytes: u64) -> Vec<u8> {
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() as u64 >= limit_bytes {
                break;
            }
        }
        body
    }
}

struct Answer {
    body: Vec<u8>,
}

impl tower_service::Service<HttpRequestFactory> for Transport {
    type Response = Response;
    type Error = OpenAIError;
    type Future = Pin<Box<dyn Future<Output = Result<Response, OpenAIError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, factory: HttpRequestFactory) -> Self::Future {
        let transport = self.clone();
        Box::pin(async move {
            let request = factory.build().await?;
            match transport.exchange(request).await {
                Ok(answer) => Ok(Response::from(http::Response::new(answer.body))),
                Err(error) => Err(OpenAIError::Boxed(Box::new(error))),
            }
        })
    }
}

/// The error that came up through the library.
pub(crate) fn unwrap_error(error: OpenAIError, mask: &Mask) -> LlmError {
    match error {
        OpenAIError::Boxed(inner) => match inner.downcast::<LlmError>() {
            Ok(inner) => *inner,
            Err(other) => LlmError::Unsendable { reason: excerpt(mask, &other.to_string(), MAX_EXCERPT_CHARS) },
        },
        OpenAIError::JSONDeserialize(cause, _) => {
            LlmError::Malformed { reason: excerpt(mask, &cause.to_string(), 200), usage: Usage::default() }
        }
        other => LlmError::Unsendable { reason: excerpt(mask, &other.to_string(), MAX_EXCERPT_CHARS) },
    }
}

/// The innermost cause, which is the one that says something; it never has the URL in it.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if std::ptr::addr_eq(cause, std::ptr::from_ref(error)) {
        // `Display` of the outermost error is the only one that repeats the URL.
        return if error.is_timeout() { "timed out".to_owned() } else { "the HTTP library gives no cause".to_owned() };
    }
    cause.to_string()
}

/// The wait that the server asks for: `retry-after-ms`, `Retry-After` in seconds, or as a date,
/// measured against the answer's own `Date`, so that clocks that differ do no harm.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let ms = headers.get("retry-after-ms").and_then(|value| value.to_str().ok());
    if let Some(ms) = ms.and_then(|ms| ms.trim().parse::<f64>().ok()) {
        return Duration::try_from_secs_f64(ms / 1000.0).ok();
    }
    let asked = text(&RETRY_AFTER)?;
    if let Ok(seconds) = asked.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let parser = jiff::fmt::rfc2822::DateTimeParser::new();
    let until = parser.parse_timestamp(asked).ok()?;
    let now = parser.parse_timestamp(text(&DATE)?).ok()?;
    Some(Duration::try_from(until.duration_since(now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_could_break_a_header_or_escape_redaction_are_refused_without_being_shown() {
        for bad in ["", "sk-with\nnewline", "sk-with space", "sk-日本語日本語", "sk-1"] {
            let error = Endpoint::new("https://x.test/v1", Some(SecretString::from(bad))).unwrap_err();
            assert!(matches!(error, EndpointError::Key { .. }), "{bad:?}");
            assert!(bad.is_empty() || !error.to_string().contains(bad));
        }
    }

    #[test]
    fn base_urls_are_checked() {
        for (bad, part) in [
            ("nonsense", "no absolute URL"),
            ("ftp://x.test", "neither http nor https"),
            ("https://user:pass@x.test/v1", "user name"),
            ("https://x.test/v1?api-version=1", "query"),
        ] {
            let error = Endpoint::new(bad, None).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains("pass@"), "{error}");
        }
        for (base, path) in [("https://x.test/v1", "https://x.test/v1/r"), ("http://x.test/v1/", "http://x.test/v1/r")]
        {
            assert_eq!(Endpoint::new(base, None).unwrap().url("/r"), path);
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let endpoint = Endpoint::new("https://x.test", Some(SecretString::from("sk-1234567890"))).unwrap();
        assert!(!format!("{endpoint:?} {:?}", endpoint.headers()).contains("1234567890"));
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (url, loopback) in [
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:1/v1", true),
            ("http://localhost", true),
            ("https://api.openai.com/v1", false),
            ("http://10.0.0.1", false),
            ("http://localhost.example.com", false),
        ] {
            assert_eq!(Endpoint::new(url, None).unwrap().is_loopback(), loopback, "{url}");
        }
    }

    #[test]
    fn the_wait_is_read_in_every_form() {
        let wait = |pairs: &[(&'static str, &'static str)]| {
            let headers =
                pairs.iter().map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v))).collect();
            retry_after(&headers)
        };
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        for (pairs, expected) in [
            (vec![("retry-after", "7")], Some(7000)),
            (vec![("retry-after", "0.5")], Some(500)),
            (vec![("retry-after-ms", "250"), ("retry-after", "7")], Some(250)),
            (vec![date, ("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")], Some(30_000)),
            (vec![date, ("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT")], Some(0)),
            (vec![("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")], None),
            (vec![("retry-after", "-3")], None),
            (vec![("retry-after", "soon")], None),
            (vec![], None),
        ] {
            assert_eq!(wait(&pairs), expected.map(Duration::from_millis), "{pairs:?}");
        }
    }
}
