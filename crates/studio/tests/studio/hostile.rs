//! Names, reports, folders and requests of strangers: told or refused, and nothing else.

use roundwise_testkit::files::{Tensor, safetensors, with_header};
use roundwise_testkit::weights::gaussian;
use serde_json::{Value, json};

use crate::client::{Answer, Server};

/// A path in the query of a request.
fn query(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

const NAMES: [&str; 5] = [
    "</script><img src=x onerror=alert(1)>.weight",
    "a\u{202e}thgiew.\u{7}.weight",
    "$(touch hostile).weight",
    "-o.weight",
    "../../etc/passwd.weight",
];

#[test]
fn names_of_tensors_are_text_in_json_and_patterns_match_them_alone() {
    let (server, folder) = Server::idle();
    let place = |index: usize| json!({ "dtype": "BF16", "shape": [16, 16], "data_offsets": [512 * index, 512 * (index + 1)] });
    let header = NAMES.iter().enumerate().map(|(index, name)| ((*name).to_owned(), place(index)));
    let header = Value::Object(header.collect()).to_string();
    let path = folder.path().join("m.safetensors");
    std::fs::write(&path, with_header(&header, &[0x3f; 512 * NAMES.len()])).unwrap();
    let plan = server.post("/api/plan", &json!({ "input": path }));
    assert_eq!(plan.status, 200, "{plan:?}");
    assert!(plan.head.to_lowercase().contains("content-type: application/json"));
    let plan = plan.json();
    let names: Vec<&str> =
        plan["tensors"].as_array().unwrap().iter().filter_map(|it| it["name"].as_str()).collect();
    for name in NAMES {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    for kind in plan["kinds"].as_array().unwrap() {
        let keep = json!({ "input": path, "recipe": { "keep": [kind["regex"]] } });
        let plan = server.post("/api/plan", &keep).json();
        assert_eq!(plan["converted_tensors"], NAMES.len() - 1, "{kind}: {}", plan["error"]);
    }
}

#[test]
fn a_kind_is_kept_by_its_expression_and_no_other_layer_is() {
    let (server, folder) = Server::idle();
    let (wide, narrow) = (gaussian(16, 64, 1), gaussian(16, 16, 1));
    let names = ["b.0.q", "b.1.q", "b.10.q", "b.0.qx", "xb.0.q", "b.0.q.0", "b.#.q"];
    let tensors: Vec<Tensor> = names
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let matrix = if index == 1 { &wide } else { &narrow };
            Tensor::bf16(&format!("{name}.weight"), matrix)
        })
        .collect();
    let path = folder.path().join("m.safetensors");
    std::fs::write(&path, safetensors(&tensors)).unwrap();
    let plan = server.post("/api/plan", &json!({ "input": path })).json();
    let kept_by = |regex: &Value| -> Vec<String> {
        let recipe = json!({ "keep": [regex] });
        let kept = server.post("/api/plan", &json!({ "input": path, "recipe": recipe })).json();
        let tensors = kept["tensors"].as_array().unwrap().clone();
        let kept = tensors.iter().filter(|tensor| tensor["decision"] == "copy");
        kept.map(|tensor| tensor["name"].as_str().unwrap().to_owned()).collect()
    };
    let kinds = plan["kinds"].as_array().unwrap();
    assert!(kinds.len() > 3);
    for (index, kind) in kinds.iter().enumerate() {
        let tensors = plan["tensors"].as_array().unwrap();
        let of_kind = tensors.iter().filter(|tensor| tensor["kind"] == index);
        let names: Vec<&str> = of_kind.map(|tensor| tensor["name"].as_str().unwrap()).collect();
        assert_eq!(kept_by(&kind["regex"]), names, "{kind}");
    }
}

fn ask_about(server: &Server, request: &str, path: &str) -> Answer {
    match request {
        "inspect" => server.post("/api/inspect", &json!({ "path": path })),
        _ => server.get(&format!("/api/{request}?path={}", query(path))),
    }
}

#[test]
fn paths_that_lead_nowhere_are_told_and_nothing_of_a_file_is_given_away() {
    let (server, folder) = Server::idle();
    let secret = folder.path().join("secret.json");
    std::fs::write(&secret, "{\"password\":\"hunter2\"}").unwrap();
    let key = folder.path().join("id_rsa");
    std::fs::write(&key, "-----BEGIN hunter2 KEY-----").unwrap();
    for path in [&secret, &key] {
        for request in ["report", "report.html", "inspect", "statistics"] {
            let answer = ask_about(&server, request, path.to_str().unwrap());
            assert_eq!(answer.status, 422, "{request}: {answer:?}");
            assert!(!answer.body.contains("hunter2"), "{request}: {answer:?}");
        }
    }
    let listed =
        server.get(&format!("/api/folder?path={}", query(folder.path().to_str().unwrap())));
    assert!(!listed.body.contains("secret") && !listed.body.contains("id_rsa"), "{listed:?}");
    for (path, status) in
        [("relative", 422), ("/nothing/there", 404), ("", 422), ("/tmp/\0x", 422), ("..", 422)]
    {
        for request in ["folder", "inspect", "statistics", "report"] {
            let answer = ask_about(&server, request, path);
            assert_eq!(answer.status, status, "{request} {path:?}: {answer:?}");
        }
    }
    let find = |name: &str| server.get(&format!("/api/find?name={}&bytes=22", query(name))).json();
    assert_eq!(
        find("secret.json")["paths"].as_array().unwrap().len(),
        1,
        "in a folder that was shown"
    );
    for name in ["../secret.json", "/etc/passwd", "", ".", ".."] {
        assert_eq!(find(name)["paths"], json!([]), "{name}");
    }
}

#[test]
fn reports_of_strangers_are_read_as_reports_or_refused() {
    let (server, folder) = Server::idle();
    let path = folder.path().join("report.json");
    let ask = |text: &str| {
        std::fs::write(&path, text).unwrap();
        server.get(&format!("/api/report?path={}", query(path.to_str().unwrap())))
    };
    let deep = "[".repeat(100_000);
    for text in [
        "",
        "{}",
        "[]",
        "null",
        "{\"report_version\":1",
        &deep,
        "\u{0}",
        "{\"report_version\":1e999}",
    ] {
        assert_eq!(ask(text).status, 422, "{}", &text[..text.len().min(40)]);
    }
    let long = format!("{{\"report_version\":1,\"x\":\"{}\"}}", "x".repeat(17 << 20));
    assert_eq!(ask(&long).status, 413);
}

#[test]
fn a_report_with_hostile_names_is_one_page_without_their_tags() {
    let report = json!({
        "report_version": 1, "tool": { "name": "roundwise", "version": "0" },
        "input": "</script><script>alert(1)</script>", "output": "<!--", "input_bytes": 1,
        "output_bytes": 1, "options": {}, "architecture": "\u{2028}<b>", "kind": "unknown",
        "consumers": [], "preset": "generic", "layout": "comfy", "notes": ["<img src=x>"],
        "threads": 1, "resumed": 0, "seconds": 1.0, "sync_seconds": 0.0, "verify_seconds": null,
        "converted": 0, "kept": 1, "removed": 0, "weight_error": null,
        "layers": [{ "name": NAMES[0], "shape": [1], "dtype": "F32", "decision": "copy",
            "reason": "x", "seconds": 0.0 }],
    });
    let (server, folder) = Server::idle();
    let path = folder.path().join("report.json");
    std::fs::write(&path, report.to_string()).unwrap();
    let answer = server.get(&format!("/api/report.html?path={}", query(path.to_str().unwrap())));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.head.to_lowercase().contains("content-disposition: attachment"));
    let (_, data) = answer.body.split_once("id=\"report\">").unwrap();
    let (data, _) = data.split_once("</script>").unwrap();
    let read: Value = serde_json::from_str(data).unwrap();
    assert_eq!(read["reports"][0]["tensors"][0]["name"], NAMES[0]);
    assert_eq!(answer.body.matches("alert(1)").count(), 2, "as text in JSON alone");
    assert!(!data.contains('<'), "{data}");
    for outside in ["http:", "https:", "import ", "src="] {
        let page = answer.body.replace(data, "");
        let is_namespace = |rest: &str| rest.starts_with("http://www.w3.org/");
        let found = page.match_indices(outside).filter(|(at, _)| !is_namespace(&page[*at..]));
        assert_eq!(found.count(), 0, "{outside}");
    }
}

#[test]
fn complaints_stand_at_their_fields() {
    let (server, folder) = Server::idle();
    let path = crate::write_model(folder.path());
    let fields = |request: Value| -> Vec<String> {
        let answer = server.post("/api/plan", &request);
        assert_eq!(answer.status, 422, "{answer:?}");
        let json = answer.json();
        let complaints = json["error"]["complaints"].as_array().unwrap().iter();
        complaints.map(|it| it["field"].as_str().unwrap().to_owned()).collect()
    };
    for (recipe, run, field) in [
        (json!({ "scheme": "fp9" }), json!({}), "scheme"),
        (json!({ "scheme": 9 }), json!({}), "scheme"),
        (json!({ "keep": ["a", "("] }), json!({}), "keep[1]"),
        (json!({ "method_options": { "top_p": 7.0 } }), json!({}), "method_options.top_p"),
        (json!({ "rules": [{ "pattern": "a", "scheme": "x" }] }), json!({}), "rules[0].scheme"),
        (json!({ "colour": 1 }), json!({}), "colour"),
        (json!({}), json!({ "threads": 0 }), "run.threads"),
        (json!({}), json!({ "threads": 100_000 }), "run.threads"),
        (json!({}), json!({ "device": "toaster" }), "run.device"),
        (json!({}), json!({ "memory_bytes": 1 }), "run.memory_bytes"),
        (json!({}), json!({ "statistics": "/nothing" }), "run.statistics"),
    ] {
        let found = match field {
            "run.statistics" => {
                let request = json!({ "input": path, "recipe": recipe, "run": run });
                let answer = server.post("/api/plan", &request);
                assert_eq!(answer.status, 404, "{answer:?}");
                vec![answer.json()["error"]["complaints"][0]["field"].as_str().unwrap().to_owned()]
            }
            _ => fields(json!({ "input": path, "recipe": recipe, "run": run })),
        };
        assert!(found.contains(&field.to_owned()), "{field}: {found:?}");
    }
}

#[test]
fn an_existing_file_is_not_replaced_unasked_and_an_input_never() {
    let (server, folder) = Server::idle();
    let input = crate::write_model(folder.path());
    let output = folder.path().join("o.safetensors");
    std::fs::write(&output, "precious").unwrap();
    let ask = |output: &std::path::Path, replace: bool| {
        let order =
            json!({ "kind": "convert", "input": input, "output": output, "replace": replace });
        let answer = server.post("/api/jobs", &order);
        (answer.status, answer.json()["error"]["kind"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(ask(&output, false), (409, "exists".to_owned()));
    assert_eq!(ask(std::path::Path::new(&input), true), (422, "output_is_input".to_owned()));
    assert_eq!(ask(folder.path(), true), (409, "exists".to_owned()));
    assert_eq!(ask(&folder.path().join("no/o.safetensors"), false), (404, "not_found".to_owned()));
    assert_eq!(std::fs::read_to_string(&output).unwrap(), "precious");
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_shown_as_such() {
    let (server, folder) = Server::idle();
    let model = crate::write_model(folder.path());
    std::os::unix::fs::symlink(&model, folder.path().join("link.safetensors")).unwrap();
    std::os::unix::fs::symlink("/nothing", folder.path().join("dead.safetensors")).unwrap();
    let path = query(folder.path().to_str().unwrap());
    let listed = server.get(&format!("/api/folder?path={path}")).json();
    let names = listed["entries"].as_array().unwrap().iter();
    let names: Vec<_> =
        names.map(|it| (it["name"].as_str().unwrap(), it["is_link"] == true)).collect();
    assert_eq!(names, [("state", false), ("link.safetensors", true), ("m.safetensors", false)]);
}

#[test]
fn a_tilde_stands_for_the_home_of_the_user() {
    let (server, _folder) = Server::idle();
    let Some(home) = std::env::home_dir().filter(|home| home.is_dir()) else { return };
    assert_eq!(server.get("/api/folder?path=~").json()["path"], json!(home));
    let nothing = server.get("/api/folder?path=~/no/such/folder");
    let message = nothing.json()["error"]["message"].to_string();
    assert!(nothing.status == 404 && message.contains(home.to_str().unwrap()), "{message}");
}
