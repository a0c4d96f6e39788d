//! Requests, taken apart, and answered on threads that may wait.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use axum::body::{Bytes, to_bytes};
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::answer::Refusal;
use crate::studio::Shared;

/// Most bytes of a request.
const MOST_BYTES: usize = 1 << 20;

/// A request, and what it is about.
pub(crate) struct Call {
    pub(crate) shared: Arc<Shared>,
    /// Parts of the path that a route names.
    places: BTreeMap<String, String>,
    /// What stands behind the `?`.
    search: String,
    body: Bytes,
}

/// What answers a request. All routes are of this one type: the machinery of a server is built once for it, and
/// not once for each of them.
pub(crate) type Route = fn(&Call) -> Result<Response, Refusal>;

/// A route that changes nothing.
pub(crate) fn get(route: Route) -> MethodRouter<Arc<Shared>> {
    routed(MethodFilter::GET, route)
}

/// A route that changes something, or takes a body.
pub(crate) fn post(route: Route) -> MethodRouter<Arc<Shared>> {
    routed(MethodFilter::POST, route)
}

fn routed(filter: MethodFilter, route: Route) -> MethodRouter<Arc<Shared>> {
    on(filter, move |State(shared): State<Arc<Shared>>, places, request| async move {
        match answer(shared, places, request, route).await {
            Ok(answer) => answer,
            Err(refusal) => refusal.into_response(),
        }
    })
}

/// Answers a request, on a thread that may wait.
async fn answer(
    shared: Arc<Shared>,
    places: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
    route: Route,
) -> Result<Response, Refusal> {
    let places = places.map_err(|_| Refusal::not_found("there is no such page"))?;
    let places = places.iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
    let search = request.uri().query().unwrap_or_default().to_owned();
    // A body that breaks off gets this answer as well, and nobody is left to read it.
    let body = to_bytes(request.into_body(), MOST_BYTES).await.map_err(|_| {
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the request is too large")
    })?;
    let call = Call { shared, places, search, body };
    // Routes wait for disks and locks, and all requests share one thread.
    match tokio::task::spawn_blocking(move || route(&call)).await {
        Ok(answer) => answer,
        Err(_) => Err(Refusal::bug("the server failed at this request")),
    }
}

impl Call {
    /// Returns the part of the path that the route calls `name`.
    pub(crate) fn place(&self, name: &str) -> &str {
        self.places.get(name).map_or("", String::as_str)
    }

    /// The body of the request.
    pub(crate) fn body<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        let unreadable = |error: serde_json::Error| {
            Refusal::new(StatusCode::BAD_REQUEST, "json", error.to_string())
        };
        // Through a `Value`, as the files of `StateFolder` are read: readers are compiled for one source, not two.
        let value: Value = serde_json::from_slice(&self.body).map_err(unreadable)?;
        serde_json::from_value(value).map_err(unreadable)
    }

    /// Returns the fields of the query; a field that is not among the known ones is refused, as is one named twice.
    pub(crate) fn query(&self, known: &[&str]) -> Result<Query, Refusal> {
        let fields = fields_of(&self.search).ok_or_else(|| unreadable("is no text"))?;
        let mut query = BTreeMap::new();
        for (key, value) in fields {
            if !known.contains(&key.as_str()) {
                return Err(unreadable(&format!("has an unknown field `{key}`")));
            }
            if query.insert(key.clone(), value).is_some() {
                return Err(unreadable(&format!("has two fields `{key}`")));
            }
        }
        Ok(Query(query))
    }
}

/// The query of a request.
pub(crate) struct Query(BTreeMap<String, String>);

impl Query {
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    pub(crate) fn path(&self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    pub(crate) fn number(&self, key: &str) -> Result<Option<u64>, Refusal> {
        let number = |text: &str| {
            text.parse().map_err(|_| unreadable(&format!("has a `{key}` that is no number")))
        };
        self.text(key).map(number).transpose()
    }

    /// Returns a field that must not be left out.
    pub(crate) fn required<T>(key: &str, value: Option<T>) -> Result<T, Refusal> {
        value.ok_or_else(|| unreadable(&format!("lacks `{key}`")))
    }
}

fn unreadable(problem: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "query", format!("the query {problem}"))
}

/// Reads `key=value&…` as forms write it.
fn fields_of(search: &str) -> Option<Vec<(String, String)>> {
    let fields = search.split('&').filter(|field| !field.is_empty());
    let field = |field: &str| {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        Some((decoded(key)?, decoded(value)?))
    };
    fields.map(field).collect()
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = vec![];
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match first {
            // As forms and `URLSearchParams` write a space.
            b'+' => b' ',
            b'%' => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                // `from_str_radix` alone would take `%+4`.
                if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                    return None;
                }
                rest = &rest[2..];
                u8::from_str_radix(digits, 16).ok()?
            }
            byte => *byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_as_forms_write_them() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let search = "path=%2Fm%2Fa+b%26c.safetensors&after=7&empty=&bare&%C3%A4=%e2%80%AE";
        let expected = vec![
            pair("path", "/m/a b&c.safetensors"),
            pair("after", "7"),
            pair("empty", ""),
            pair("bare", ""),
            pair("ä", "\u{202e}"),
        ];
        assert_eq!(fields_of(search), Some(expected));
        assert_eq!(fields_of(""), Some(vec![]));
    }

    #[test]
    fn what_is_no_text_is_no_query() {
        for search in ["a=%", "a=%4", "a=%+4", "a=%zz", "a=%ff", "%ff=a", "a=%C3"] {
            assert_eq!(fields_of(search), None, "{search}");
        }
    }
}
