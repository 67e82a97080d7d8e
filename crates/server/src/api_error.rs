//! What a client is told when a request is refused or fails.

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// The kinds of llama-server's errors (`error_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The request makes no sense.
    InvalidRequest,
    /// No key, or an unknown one.
    Authentication,
    /// There is no such route or model.
    NotFound,
    /// Computing failed.
    Server,
    /// This server was started without it, or cannot do it.
    NotSupported,
    /// Not now: loading, too many requests, going down.
    Unavailable,
    /// The prompt is longer than the context.
    ExceedContextSize,
}

impl Kind {
    fn status(self) -> StatusCode {
        match self {
            Kind::InvalidRequest | Kind::ExceedContextSize => StatusCode::BAD_REQUEST,
            Kind::Authentication => StatusCode::UNAUTHORIZED,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Server => StatusCode::INTERNAL_SERVER_ERROR,
            Kind::NotSupported => StatusCode::NOT_IMPLEMENTED,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::InvalidRequest => "invalid_request_error",
            Kind::Authentication => "authentication_error",
            Kind::NotFound => "not_found_error",
            Kind::Server => "server_error",
            Kind::NotSupported => "not_supported_error",
            Kind::Unavailable => "unavailable_error",
            Kind::ExceedContextSize => "exceed_context_size_error",
        }
    }
}

/// An error as clients see it: `{"error":{"code","message","type"}}` and the status of its kind (`format_error_response`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    kind: Kind,
    message: String,
    /// Tokens of a prompt that is too long, and of the context.
    sizes: Option<(usize, usize)>,
}

impl ApiError {
    /// An error of this kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> ApiError {
        ApiError { kind, message: message.into(), sizes: None }
    }

    /// A request that makes no sense.
    pub fn invalid(message: impl Into<String>) -> ApiError {
        ApiError::new(Kind::InvalidRequest, message)
    }

    /// A prompt that leaves no room in the context.
    pub fn too_long(n_prompt: usize, n_ctx: usize) -> ApiError {
        let message = format!(
            "request ({n_prompt} tokens) exceeds the available context size ({n_ctx} tokens): shorten it, or start the server with a \
             larger one (-c)"
        );
        ApiError { kind: Kind::ExceedContextSize, message, sizes: Some((n_prompt, n_ctx)) }
    }

    /// Why a text could not begin.
    pub fn at_start(error: &quipu::Error) -> ApiError {
        match error {
            quipu::Error::PromptTooLong { n_prompt, n_ctx } => ApiError::too_long(*n_prompt, *n_ctx),
            // Nobody's mistake.
            quipu::Error::Sampler(quipu::sampler::Error::SchemaNotRun) => {
                ApiError::new(Kind::Unavailable, error.to_string())
            }
            quipu::Error::Sampler(error) => {
                ApiError::invalid(format!("Failed to initialize samplers: {error}"))
            }
            quipu::Error::NoFreeSequence { .. } => ApiError::new(Kind::Unavailable, error.to_string()),
            _ => ApiError::invalid(error.to_string()),
        }
    }

    /// What went wrong while computing.
    pub fn while_computing(error: &quipu::Error) -> ApiError {
        ApiError::new(Kind::Server, error.to_string())
    }

    /// The worker let go of the request.
    pub fn given_up() -> ApiError {
        ApiError::new(
            Kind::Unavailable,
            "the text was given up: its reader took nothing for too long, or the server is going down",
        )
    }

    /// What is in a body, and in a stream after `data: {"error":`.
    pub fn to_json(&self) -> Value {
        let (code, kind) = (self.kind.status().as_u16(), self.kind.name());
        let mut error = json!({ "code": code, "message": self.message, "type": kind });
        if let Some((n_prompt, n_ctx)) = self.sizes {
            error["n_prompt_tokens"] = n_prompt.into();
            error["n_ctx"] = n_ctx.into();
        }
        error
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = json_response(&json!({ "error": self.to_json() }));
        *response.status_mut() = self.kind.status();
        response
    }
}

/// A JSON body with the type that llama-server gives it.
pub(crate) fn json_response(value: &Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    let kind = header::HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_those_of_the_reference() {
        let error = ApiError::invalid("no").to_json().to_string();
        assert_eq!(error, r#"{"code":400,"message":"no","type":"invalid_request_error"}"#);
        let error = ApiError::at_start(&quipu::Error::Sampler(quipu::sampler::Error::SchemaNotRun)).to_json();
        assert_eq!((&error["code"], &error["type"]), (&json!(503), &json!("unavailable_error")));
        let error = ApiError::too_long(300, 256).to_json();
        assert_eq!((&error["n_prompt_tokens"], &error["n_ctx"]), (&json!(300), &json!(256)));
        assert_eq!((&error["code"], &error["type"]), (&json!(400), &json!("exceed_context_size_error")));
    }
}
