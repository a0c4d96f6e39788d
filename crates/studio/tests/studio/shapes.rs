//! Every key of every answer is in `docs/studio.md`, or where that says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::client::Server;

const DOCUMENT: &str = include_str!("../../../../docs/studio.md");
const ANSWERS: &str = include_str!("../../../../docs/report.md");

/// Keys of the table below a heading, and what the rest is told in, if it is elsewhere.
fn documented(document: &str, heading: &str) -> BTreeSet<String> {
    let lines = document.lines().skip_while(|line| *line != heading).skip(1);
    let lines = lines.take_while(|line| !line.starts_with('#'));
    let cells = lines.filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let keys = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    keys.map(str::to_owned).collect()
}

/// Paths of all keys: `entries[].name`.
fn keys(value: &Value, prefix: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                found.insert(path.clone());
                keys(value, &path, found);
            }
        }
        Value::Array(entries) => {
            for entry in entries {
                keys(entry, &format!("{prefix}[]"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn answers_have_the_keys_of_the_document() {
    let (server, folder) = Server::idle();
    let model = crate::write_model(folder.path());
    let order = json!({ "kind": "convert", "input": model, "recipe": { "scheme": "fp8" } });
    server.post("/api/queue", &json!({ "runs": false }));
    let job = server.post("/api/jobs", &order).json();
    let id = job["id"].as_str().unwrap().to_owned();
    let encoded: String = model.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let request = json!({ "input": model });
    let explain = json!({ "input": model, "tensor": "head.weight" });
    let answers = BTreeMap::from([
        ("Errors", server.get("/api/nothing").json()),
        ("Vocabulary", server.get("/api/vocabulary").json()),
        ("Folder", server.get(&format!("/api/folder?path={encoded}")).json()),
        ("Find", server.get("/api/find?name=m.safetensors&bytes=1").json()),
        ("Plan", server.post("/api/plan", &request).json()),
        ("Sizes", server.post("/api/sizes", &request).json()),
        ("Explain", server.post("/api/explain", &explain).json()),
        ("Job", server.get(&format!("/api/jobs/{id}")).json()),
        ("Queue", server.get("/api/jobs").json()),
    ]);
    for (heading, answer) in answers {
        let mut found = BTreeSet::new();
        keys(&answer, "", &mut found);
        let mut documented = self::documented(DOCUMENT, &format!("### {heading}"));
        assert!(!documented.is_empty(), "{heading}: no table");
        if heading == "Plan" {
            // The page's plan is that of `plan --json`, and more.
            documented.extend(self::documented(ANSWERS, "## Plan"));
        }
        // Tables of other documents: the page hands them on as they are.
        let is_elsewhere = |key: &&String| {
            documented
                .iter()
                .any(|whole| whole.ends_with(".*") && key.starts_with(&whole[..whole.len() - 1]))
        };
        let unknown: Vec<&String> =
            found.difference(&documented).filter(|key| !is_elsewhere(key)).collect();
        assert!(unknown.is_empty(), "{heading}: not in docs/studio.md: {unknown:?}");
    }
}

#[test]
fn the_scheme_at_hand_has_the_size_that_its_plan_promises() {
    let (server, folder) = Server::idle();
    let input = crate::write_model(folder.path());
    for recipe in [json!({}), json!({ "scheme": "int8-row" })] {
        let request = json!({ "input": input, "recipe": recipe });
        let plan = server.post("/api/plan", &request).json();
        let sizes = server.post("/api/sizes", &request).json();
        let own = |size: &&Value| size["scheme"] == plan["scheme"];
        let own = sizes.as_array().unwrap().iter().find(own).unwrap();
        assert_eq!(own["output_bytes"], plan["output_bytes"], "{recipe}");
    }
}
