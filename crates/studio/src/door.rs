//! Who is let in, decided before any request is answered.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::answer::Refusal;
use crate::key::Key;
use crate::studio::Shared;

/// Headers of every answer. The page takes scripts, styles and data from its own server alone, is
/// shown in no frame, and is kept nowhere.
const HEADERS: [(&str, &str); 7] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         img-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; \
         require-trusted-types-for 'script'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("x-frame-options", "DENY"),
];

/// Lets requests of the page through, and gives every answer its headers.
pub(crate) async fn guard(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let mut answer = match admit(&request, &shared.key) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    // Refusals have them as well.
    for (name, value) in HEADERS {
        answer.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    answer
}

/// Decides whether a request is let in. The key alone would do; the other rules keep pages of strangers from
/// trying.
///
/// # Errors
/// The first of the rules that a request breaks.
fn admit(request: &Request, key: &Key) -> Result<(), Refusal> {
    let headers = request.headers();
    // 1. The name of the server, whatever is asked for.
    let host = host(request)?;
    let path = request.uri().path();
    let is_get = matches!(*request.method(), Method::GET | Method::HEAD);
    if !path.starts_with("/api/") {
        return match is_get {
            true => Ok(()),
            false => Err(wrong_method()),
        };
    }
    // 2. The page that asks.
    refuse_other_origin(headers, host)?;
    if !is_get && *request.method() != Method::POST {
        return Err(wrong_method());
    }
    // 3. The key; without one only a code can be exchanged for it.
    if path != "/api/session" && !bearer(headers).is_some_and(|text| key.is(text)) {
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "key", "the key is missing or old")
            .with_help("open the address that the terminal shows"));
    }
    // 4. The type, which no form of another page can send.
    if !is_get && !is_json(headers) {
        let kind = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(Refusal::new(kind, "type", "the request is not `application/json`"));
    }
    Ok(())
}

pub(crate) fn wrong_method() -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method", "there is no such request")
}

/// The one value of a header; `None` where it is left out.
///
/// # Errors
/// When it is there twice, or is no text.
fn only(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}

/// Returns the name under which this server was asked. It gives away a page of another server whose name was
/// made to resolve to 127.0.0.1 (DNS rebinding).
fn host(request: &Request) -> Result<&str, Refusal> {
    let refused = || {
        Refusal::new(StatusCode::FORBIDDEN, "host", "this server answers to 127.0.0.1 alone")
            .with_help("open the address that the terminal shows")
    };
    let host = only(request.headers(), HOST).ok().flatten().ok_or_else(refused)?;
    // A request line with a whole address names the host once more, and both have to agree.
    let authority = request.uri().authority().is_none_or(|it| it.as_str() == host);
    match authority && is_loopback(host) {
        true => Ok(host),
        false => Err(refused()),
    }
}

/// Returns whether a host is this machine, at any port: the near end of an SSH tunnel may have another one.
fn is_loopback(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, port)) => (name, port),
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_name = match host.starts_with('[') {
        true => name == "::1",
        false => name == "127.0.0.1" || name.eq_ignore_ascii_case("localhost"),
    };
    let is_port = match port.strip_prefix(':') {
        Some(digits) => is_port_number(digits),
        None => port.is_empty(),
    };
    is_name && is_port
}

fn is_port_number(digits: &str) -> bool {
    digits.bytes().all(|it| it.is_ascii_digit()) && digits.parse::<u16>().is_ok()
}

/// Refuses requests that a browser says another page has made.
fn refuse_other_origin(headers: &HeaderMap, host: &str) -> Result<(), Refusal> {
    let refused = || {
        Refusal::new(StatusCode::FORBIDDEN, "origin", "the request comes from another page")
            .with_help("use the page at the address that the terminal shows")
    };
    let origin = only(headers, ORIGIN).map_err(|()| refused())?;
    let is_ours = |origin: &str| origin.strip_prefix("http://") == Some(host);
    let site = only(headers, HeaderName::from_static("sec-fetch-site")).map_err(|()| refused())?;
    // Programs send neither header, and need the key all the same.
    match origin.is_none_or(is_ours) && site.is_none_or(|site| site == "same-origin") {
        true => Ok(()),
        false => Err(refused()),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    only(headers, AUTHORIZATION).ok().flatten()?.strip_prefix("Bearer ")
}

fn is_json(headers: &HeaderMap) -> bool {
    let Ok(Some(text)) = only(headers, CONTENT_TYPE) else { return false };
    let (kind, parameters) = text.split_once(';').unwrap_or((text, ""));
    let is_utf8 = |text: &str| text.is_empty() || text.eq_ignore_ascii_case("charset=utf-8");
    kind.trim().eq_ignore_ascii_case("application/json") && is_utf8(parameters.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_three_names_and_any_port() {
        for host in ["127.0.0.1", "127.0.0.1:8642", "localhost:1", "LOCALHOST", "[::1]", "[::1]:80"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            ":80",
            "127.0.0.1.evil.example",
            "localhost.",
            "localhost.evil.example:80",
            "evil.example",
            "127.0.0.1:",
            "127.0.0.1:80:80",
            "127.0.0.1:+80",
            "127.0.0.1:99999",
            "127.0.0.1@evil.example",
            "::1",
            "[::1",
            "[::1]x",
            "[127.0.0.1]",
            "0.0.0.0",
            "192.168.0.2:8642",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
