//! The back end for OpenAI and compatible servers, in either dialect, through async-openai with our
//! own request and answer types.

use async_openai::Client;
use async_trait::async_trait;
use secrecy::SecretString;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::backend::{Backend, BackendCall, LlmError};
use super::http::{self, Endpoint, Transport};
pub use super::http::{EndpointError, HttpLimits};
use super::redact::excerpt;
use super::{chat, estimate, responses};
pub use crate::domain::llm::Dialect;
use crate::domain::llm::{Completion, Request, Usage};
use crate::domain::mask::Mask;

/// Larger states are dropped: the conversation goes on without that reasoning.
pub(crate) const MAX_STATE_BYTES: usize = 1024 * 1024;
/// The host of OpenAI itself, which wants its newer names of fields.
const OPENAI_HOST: &str = "api.openai.com";

/// A server that speaks one of the dialects.
#[derive(Debug)]
pub struct OpenAiBackend {
    client: Client<Endpoint>,
    transport: Transport,
    endpoint: Endpoint,
    dialect: Dialect,
    mask: Mask,
}

impl OpenAiBackend {
    /// `base_url` goes up to before `/responses` or `/chat/completions`, such as
    /// `https://api.openai.com/v1`. Without a key no Authorization header is sent.
    ///
    /// # Errors
    /// [`EndpointError`] when base URL or key cannot be used.
    pub fn new(
        base_url: &str,
        key: Option<SecretString>,
        dialect: Dialect,
        limits: HttpLimits,
        mask: Mask,
    ) -> Result<Self, EndpointError> {
        let endpoint = Endpoint::new(base_url, key)?;
        let http = http::client(&endpoint, limits)?;
        let transport = Transport::new(http.clone(), endpoint.clone(), mask.clone(), limits);
        // The service replaces the library's own executor, which would retry without telling.
        let client = Client::build(http, endpoint.clone()).with_http_service(transport.clone());
        Ok(Self { client, transport, endpoint, dialect, mask })
    }

    /// Whether the server answers and takes the key: `GET /models`, which costs nothing. A server
    /// without that path counts as reachable. Gives the models' names when it lists them.
    ///
    /// # Errors
    /// [`LlmError`] as for a call.
    pub async fn probe(&self) -> Result<Vec<String>, LlmError> {
        let body = match self.transport.get("/models").await {
            Ok(body) => body,
            Err(LlmError::Status { status: 404 | 405, .. } | LlmError::NotJson { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let list: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let models = list.get("data").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        Ok(models.iter().filter_map(|model| model.get("id")?.as_str().map(str::to_owned)).collect())
    }

    async fn send(&self, request: &Request) -> Result<Value, LlmError> {
        let answer: Result<Value, _> = match self.dialect {
            Dialect::Responses => {
                let body = responses::request(request)?;
                self.client.responses().create_byot(body).await
            }
            Dialect::Chat => {
                let body = chat::request(request, self.endpoint.host() == OPENAI_HOST)?;
                self.client.chat().create_byot(body).await
            }
        };
        answer.map_err(|error| http::unwrap_error(error, &self.mask))
    }

    /// Masks the parsed answer: in the body itself, JSON escapes could hide a secret.
    fn masked(&self, mut completion: Completion) -> Completion {
        let mask = |text: &mut String| {
            if self.mask.finds_in(text) {
                *text = self.mask.apply(text);
            }
        };
        mask(&mut completion.text);
        mask(&mut completion.model);
        completion.provider_state.iter_mut().for_each(mask);
        for call in &mut completion.tool_calls {
            mask(&mut call.id);
            mask(&mut call.name);
            mask(&mut call.arguments);
        }
        completion
    }
}

#[async_trait]
impl Backend for OpenAiBackend {
    fn name(&self) -> String {
        format!("{} at {}", self.dialect.name(), self.endpoint.host())
    }

    async fn complete(&self, call: BackendCall) -> Result<Completion, LlmError> {
        let input_tokens = estimate::request_tokens(&call.request);
        let answer = self.send(&call.request).await.map_err(|error| with_input(error, input_tokens))?;
        let completion = match self.dialect {
            Dialect::Responses => responses::completion(&answer, &call),
            Dialect::Chat => chat::completion(&answer, &call),
        };
        let mut completion = completion.map_err(|error| with_input(self.masked_error(error), input_tokens))?;
        if completion.usage.estimated {
            completion.usage.input_tokens = input_tokens;
            completion.usage.output_tokens = estimate::completion_tokens(&completion);
        }
        Ok(self.masked(completion))
    }
}

impl OpenAiBackend {
    fn masked_error(&self, error: LlmError) -> LlmError {
        match error {
            LlmError::Status { status, code, message, retry_after } => LlmError::Status {
                status,
                code: code.map(|code| excerpt(&self.mask, &code, 100)),
                message: excerpt(&self.mask, &message, 600),
                retry_after,
            },
            other => other,
        }
    }
}

/// Adds the input to an estimated usage, which was made where only the answer is known.
fn with_input(error: LlmError, input_tokens: u64) -> LlmError {
    let fill = |usage: Usage| if usage.estimated { Usage { input_tokens, ..usage } } else { usage };
    match error {
        LlmError::NotJson { content_type, excerpt, usage } => {
            LlmError::NotJson { content_type, excerpt, usage: fill(usage) }
        }
        LlmError::Malformed { reason, usage } => LlmError::Malformed { reason, usage: fill(usage) },
        other => other,
    }
}

/// A JSON schema out of its text.
pub(crate) fn schema(name: &str, text: &str) -> Result<Value, LlmError> {
    match serde_json::from_str::<Value>(text) {
        Ok(schema @ Value::Object(_)) => Ok(schema),
        Ok(_) => Err(LlmError::Unsendable { reason: format!("the schema of `{name}` is no JSON object") }),
        Err(error) => Err(LlmError::Unsendable { reason: format!("the schema of `{name}` is no JSON: {error}") }),
    }
}

/// Packs a dialect's state so that another dialect will not take it for its own. Too large: `None`.
pub(crate) fn close_state<T: Serialize>(dialect: &str, state: &T, max_bytes: usize) -> Option<String> {
    let text = serde_json::to_string(&serde_json::json!({"dialect": dialect, "v": 1, "state": state})).ok()?;
    (text.len() <= max_bytes).then_some(text)
}

/// What [`close_state`] packed for this dialect; the default when it is another's or broken, because
/// the text passed through a guest.
pub(crate) fn open_state<T: DeserializeOwned + Default>(dialect: &str, text: Option<&str>) -> T {
    let Some(mut packed) = text.and_then(|text| serde_json::from_str::<Value>(text).ok()) else {
        return T::default();
    };
    if packed["dialect"] != dialect || packed["v"] != 1 {
        return T::default();
    }
    serde_json::from_value(packed["state"].take()).unwrap_or_default()
}
