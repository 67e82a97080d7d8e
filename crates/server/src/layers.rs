//! What happens to every request before its route: headers for browsers, keys, and answers to what has no route.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::api_error::{ApiError, Kind};
use crate::app::App;
use crate::options::Cors;

/// Routes that need no key.
const PUBLIC: [&str; 4] = ["/health", "/v1/health", "/models", "/v1/models"];

/// See the module.
pub(crate) async fn admit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = if request.method() == Method::OPTIONS {
        ([(header::CONTENT_TYPE, "text/html")], "").into_response()
    } else if let Err(error) = check_key(&app, &request) {
        error.into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(header::SERVER, HeaderValue::from_static("llama.cpp"));
    allow(&app.options.cors, origin.as_ref(), headers);
    if response.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return (StatusCode::PAYLOAD_TOO_LARGE, "").into_response();
    }
    response
}

/// What has no route, or not with this method.
pub(crate) async fn not_found() -> ApiError {
    ApiError::new(Kind::NotFound, "File Not Found")
}

/// Tells browsers which pages may read this.
fn allow(cors: &Cors, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
    let origin_of = |origin: &HeaderValue| origin.to_str().map(str::to_owned).unwrap_or_default();
    let allowed = match cors.origins.as_str() {
        "*" if !cors.credentials => Some("*".to_owned()),
        // With credentials a star allows nothing.
        "*" => Some(origin.map_or_else(|| "*".to_owned(), origin_of)),
        "localhost" => origin.map(origin_of).filter(|origin| is_local(origin)),
        fixed => Some(fixed.to_owned()),
    };
    let mut set = |name: header::HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    if let Some(allowed) = allowed {
        set(header::ACCESS_CONTROL_ALLOW_ORIGIN, &allowed);
        if cors.credentials {
            set(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
        }
        set(header::ACCESS_CONTROL_ALLOW_METHODS, &cors.methods);
        set(header::ACCESS_CONTROL_ALLOW_HEADERS, &cors.headers);
    }
}

/// Whether an origin is a page of this machine, on whatever port.
fn is_local(origin: &str) -> bool {
    let Some((_, rest)) = origin.split_once("://") else { return false };
    let host = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => host,
        None => rest.split(':').next().unwrap_or(rest),
    };
    ["localhost", "127.0.0.1", "::1"].contains(&host)
}

/// Whether the request may.
fn check_key(app: &App, request: &Request) -> Result<(), ApiError> {
    let keys = &app.options.api_keys;
    let path = request.uri().path();
    let path = path.strip_prefix(app.options.api_prefix.as_str()).unwrap_or(path);
    if keys.is_empty() || PUBLIC.contains(&path) {
        return Ok(());
    }
    let text = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let given = text("authorization").map(|value| value.strip_prefix("Bearer ").unwrap_or(value));
    let given = given.or_else(|| text("x-api-key")).unwrap_or("");
    // All keys are looked at, so that the time says nothing of which one was nearly right.
    let is_known = keys.iter().fold(false, |known, key| known | is_equal(key.as_bytes(), given.as_bytes()));
    if is_known { Ok(()) } else { Err(ApiError::new(Kind::Authentication, "Invalid API Key")) }
}

/// Compares in a time that depends on the lengths alone.
fn is_equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_this_machine() {
        for origin in
            ["http://localhost", "http://localhost:8080", "https://127.0.0.1:3000", "http://[::1]:80"]
        {
            assert!(is_local(origin), "{origin}");
        }
        for origin in ["http://localhost.evil.com", "null", "http://10.0.0.1", "http://evil.com:80/localhost"]
        {
            assert!(!is_local(origin), "{origin}");
        }
    }

    #[test]
    fn keys_are_equal_or_not() {
        assert!(is_equal(b"secret", b"secret") && is_equal(b"", b""));
        assert!(
            !is_equal(b"secret", b"secrer") && !is_equal(b"secret", b"secre") && !is_equal(b"secret", b"")
        );
    }
}
