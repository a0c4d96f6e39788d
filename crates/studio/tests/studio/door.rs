//! Who is let in: every rule alone, and what a page of a stranger can send.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::client::{Answer, Server};

/// A request that differs from a good one in what a row says.
#[derive(Clone)]
struct Row {
    method: &'static str,
    path: &'static str,
    host: Option<&'static str>,
    origin: Option<&'static str>,
    site: Option<&'static str>,
    key: Key,
    content: Option<&'static str>,
}

#[derive(Clone, Copy)]
enum Key {
    Right,
    Wrong,
    Missing,
    /// The right one in another place.
    InQuery,
}

const GET: Row = Row {
    method: "GET",
    path: "/api/jobs",
    host: Some("127.0.0.1:PORT"),
    origin: None,
    site: None,
    key: Key::Right,
    content: None,
};

const POST: Row =
    Row { method: "POST", path: "/api/queue", content: Some("application/json"), ..GET };

impl Row {
    fn ask(&self, server: &Server) -> Answer {
        let port = server.port.to_string();
        let mut text = format!("{} {}", self.method, self.path);
        if let Key::InQuery = self.key {
            text += &format!("?key={}", server.key);
        }
        text += " HTTP/1.1\r\nConnection: close\r\n";
        let key = match self.key {
            Key::Right => Some(server.key.clone()),
            Key::Wrong => Some("0".repeat(64)),
            Key::Missing | Key::InQuery => None,
        };
        let headers = [
            ("Host", self.host.map(str::to_owned)),
            ("Origin", self.origin.map(str::to_owned)),
            ("Sec-Fetch-Site", self.site.map(str::to_owned)),
            ("Authorization", key.map(|key| format!("Bearer {key}"))),
            ("Content-Type", self.content.map(str::to_owned)),
        ];
        for (name, value) in headers {
            if let Some(value) = value {
                text += &format!("{name}: {}\r\n", value.replace("PORT", &port));
            }
        }
        let body = if self.method == "POST" { "{\"runs\":true}" } else { "" };
        text += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
        server.raw(&text)
    }
}

#[test]
fn every_rule_of_the_door_refuses_by_itself() {
    let (server, _folder) = Server::idle();
    let ours = Some("http://127.0.0.1:PORT");
    let rows: Vec<(Row, u16)> = vec![
        // What the page sends.
        (GET, 200),
        (POST, 200),
        (Row { origin: ours, site: Some("same-origin"), ..POST }, 200),
        (Row { host: Some("localhost:PORT"), origin: Some("http://localhost:PORT"), ..POST }, 200),
        (Row { host: Some("[::1]:PORT"), origin: Some("http://[::1]:PORT"), ..POST }, 200),
        // Through a tunnel.
        (Row { host: Some("localhost:9000"), origin: Some("http://localhost:9000"), ..POST }, 200),
        (Row { content: Some("application/json; charset=utf-8"), ..POST }, 200),
        // Another name for this machine: rebinding.
        (Row { host: Some("evil.example"), ..GET }, 403),
        (Row { host: Some("evil.example:PORT"), ..POST }, 403),
        (Row { host: Some("127.0.0.1.evil.example:PORT"), ..GET }, 403),
        (Row { host: Some("0.0.0.0:PORT"), ..GET }, 403),
        (Row { host: None, ..GET }, 403),
        (Row { host: Some("evil.example"), path: "/", key: Key::Missing, ..GET }, 403),
        (Row { host: Some("evil.example"), path: "/main.js", key: Key::Missing, ..GET }, 403),
        // Another page of the same browser.
        (Row { origin: Some("https://evil.example"), ..POST }, 403),
        (Row { origin: Some("null"), ..POST }, 403),
        (Row { origin: Some("http://127.0.0.1:1"), ..POST }, 403),
        (Row { origin: Some("https://127.0.0.1:PORT"), ..POST }, 403),
        (Row { origin: Some("http://localhost:PORT"), ..POST }, 403),
        (Row { site: Some("cross-site"), ..GET }, 403),
        (Row { site: Some("same-site"), ..GET }, 403),
        (Row { site: Some("none"), ..GET }, 403),
        // Without the key.
        (Row { key: Key::Missing, ..GET }, 401),
        (Row { key: Key::Wrong, ..GET }, 401),
        (Row { key: Key::InQuery, ..GET }, 401),
        (Row { key: Key::Missing, ..POST }, 401),
        (Row { key: Key::Missing, path: "/api/nothing", ..GET }, 401),
        // What a form sends.
        (Row { content: None, ..POST }, 415),
        (Row { content: Some("text/plain"), ..POST }, 415),
        (Row { content: Some("application/x-www-form-urlencoded"), ..POST }, 415),
        (Row { content: Some("application/json; charset=utf-7"), ..POST }, 415),
        // Other methods, and what browsers ask before they send.
        (Row { method: "OPTIONS", ..POST }, 405),
        (Row { method: "PUT", ..POST }, 405),
        (Row { method: "DELETE", ..GET }, 405),
        (Row { method: "POST", path: "/", ..POST }, 405),
        (Row { method: "POST", path: "/api/jobs/1", ..POST }, 405),
        (Row { path: "/api/queue", ..GET }, 405),
        // The page itself is no secret, and holds none.
        (Row { path: "/", key: Key::Missing, ..GET }, 200),
        (Row { path: "/nothing.js", key: Key::Missing, ..GET }, 404),
        (Row { path: "/api/nothing", ..GET }, 404),
        (Row { path: "/api/jobs/7", ..GET }, 404),
        (Row { path: "//api/jobs", key: Key::Missing, ..GET }, 404),
        (Row { path: "/%61pi/jobs", key: Key::Missing, ..GET }, 404),
        (Row { path: "/API/jobs", key: Key::Missing, ..GET }, 404),
        (Row { path: "/../Cargo.toml", key: Key::Missing, ..GET }, 404),
        (Row { path: "/..%2fCargo.toml", key: Key::Missing, ..GET }, 404),
    ];
    for (row, status) in rows {
        let answer = row.ask(&server);
        let Row { method, path, host, origin, site, content, .. } = &row;
        let told = format!("{method} {path} {host:?} {origin:?} {site:?} {content:?}: {answer:?}");
        assert_eq!(answer.status, status, "{told}");
        if answer.status >= 400 {
            let error = &answer.json()["error"];
            assert!(!error["message"].as_str().unwrap().is_empty(), "{told}");
            let has_help = !error["help"].as_str().unwrap().is_empty();
            assert!(has_help || ![401, 403].contains(&answer.status), "{told}");
        }
        let head = answer.head.to_lowercase();
        assert!(!head.contains("access-control"), "{told}");
        assert!(!answer.body.contains(&server.key), "{told}");
        for header in
            ["content-security-policy: default-src 'none'", "x-content-type-options: nosniff"]
        {
            assert!(head.contains(header), "{told}");
        }
    }
}

#[test]
fn a_header_that_is_sent_twice_is_refused() {
    let (server, _folder) = Server::idle();
    let Server { port, key, .. } = &server;
    for (twice, status) in [
        (format!("Host: 127.0.0.1:{port}\r\nHost: 127.0.0.1:{port}"), 403),
        (
            format!(
                "Host: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\nOrigin: http://a"
            ),
            403,
        ),
        (format!("Host: 127.0.0.1:{port}\r\nAuthorization: Bearer 0"), 401),
    ] {
        let request = format!(
            "GET /api/jobs HTTP/1.1\r\n{twice}\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"
        );
        let answer = server.raw(&request);
        // The server's own reader may refuse a second Host before we do.
        assert!([status, 400].contains(&answer.status), "{twice}: {answer:?}");
    }
    let absolute = format!(
        "GET http://evil.example/api/jobs HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer \
         {key}\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(server.raw(&absolute).status, 403);
}

#[test]
fn a_code_is_exchanged_for_the_key_once() {
    let (server, _folder) = Server::idle();
    assert_eq!(server.post("/api/session", &json!({ "once": "0" })).status, 401);
    let body = "{\"once\":\"0\"}";
    let without_key = format!(
        "POST /api/session HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        server.port,
        body.len()
    );
    let answer = server.raw(&without_key);
    assert_eq!((answer.status, answer.json()["error"]["kind"].as_str()), (401, Some("key")));
}

/// Every file below a folder, with its content.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => drop(found.insert(path.clone(), std::fs::read(&path).unwrap())),
        }
    }
    found
}

#[test]
fn requests_that_read_change_nothing() {
    let (server, folder) = Server::idle();
    let model = crate::write_model(folder.path());
    server.post("/api/queue", &json!({ "runs": false }));
    server.post("/api/jobs", &json!({ "kind": "convert", "input": model }));
    let before = files(folder.path());
    for path in [
        "vocabulary",
        &format!("folder?path={model}"),
        "find?name=m.safetensors&bytes=1",
        &format!("statistics?path={model}"),
        "jobs",
        "jobs/1",
        "report?job=1",
        "report.html?job=1",
    ] {
        let answer = server.get(&format!("/api/{path}"));
        assert!([200, 404, 422].contains(&answer.status), "{path}: {answer:?}");
    }
    assert!(files(folder.path()) == before);
    assert_eq!(server.get(&format!("/api/inspect?path={model}")).status, 405);
    // It is remembered among recent files.
    assert_eq!(server.post("/api/inspect", &json!({ "path": model })).status, 200);
    assert!(files(folder.path()) != before);
}

#[test]
fn requests_are_bounded_and_understood_in_full() {
    let (server, _folder) = Server::idle();
    let long = json!({ "runs": "x".repeat(2 << 20) });
    assert_eq!(server.post("/api/queue", &long).status, 413);
    for body in [json!({ "runs": true, "more": 1 }), json!({}), json!([]), json!("x")] {
        let answer = server.post("/api/queue", &body);
        assert_eq!((answer.status, answer.json()["error"]["kind"].as_str()), (400, Some("json")));
    }
    assert_eq!(server.get("/api/events?after=x").status, 400);
    assert_eq!(server.get("/api/report").status, 400);
}
