//! `studio` and `report`: real jobs behind the page, and pages of reports.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use roundwise_testkit::files::{Tensor, safetensors};
use roundwise_testkit::weights::gaussian;
use serde_json::{Value, json};

use crate::tool::{self, Folder};

/// A running studio, killed when it is dropped.
struct Studio {
    child: Child,
    host: String,
    key: String,
}

impl Studio {
    fn start(state: &Path) -> Self {
        let mut tool = Command::new(tool::binary());
        tool.args(["studio", "--no-open", "--port", "0", "--state"]).arg(state);
        Self::of(&mut tool)
    }

    /// A studio that this command starts.
    fn of(tool: &mut Command) -> Self {
        let mut child = tool.env_remove("SSH_CONNECTION").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split_whitespace().last().unwrap();
        let (host, key) = address.strip_prefix("http://").unwrap().split_once("/#key=").unwrap();
        Self { host: host.to_owned(), key: key.to_owned(), child }
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, String) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut stream = TcpStream::connect(&self.host).unwrap();
        let Self { host, key, .. } = self;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\nContent-Type: \
             application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    #[track_caller]
    fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, &Value::Null);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    #[track_caller]
    fn add(&self, order: &Value) -> String {
        let (status, body) = self.ask("POST", "/api/jobs", order);
        assert_eq!(status, 201, "{order}: {body}");
        serde_json::from_str::<Value>(&body).unwrap()["id"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn wait_for(&self, id: &str, is_there: impl Fn(&Value) -> bool) -> Value {
        let since = Instant::now();
        loop {
            let job = self.get(&format!("/api/jobs/{id}"));
            if is_there(&job) {
                return job;
            }
            let has_failed = job["state"] == "failed" && !is_there(&job);
            assert!(!has_failed && since.elapsed() < Duration::from_secs(60), "{job}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[track_caller]
    fn done(&self, order: &Value) -> Value {
        let id = self.add(order);
        self.wait_for(&id, |job| job["state"] == "done")
    }
}

impl Drop for Studio {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn jobs_of_every_kind_are_commands_that_end_with_a_report() {
    let folder = crate::plain();
    let studio = Studio::start(&folder.path("state"));
    let [input, output] = ["m.safetensors", "o.safetensors"].map(|name| folder.path(name));
    let order = json!({ "kind": "convert", "input": input, "output": output });
    let plan = json!({ "input": input, "output": output });
    let (_, plan) = studio.ask("POST", "/api/plan", &plan);
    let plan: Value = serde_json::from_str(&plan).unwrap();
    let job = studio.done(&order);
    let made = std::fs::read(&output).unwrap();
    assert_eq!(plan["output_bytes"], made.len(), "the size promised is the size made");
    assert_eq!(plan["command"], job["command"]);
    let shown: Vec<&str> =
        job["command"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    std::fs::remove_file(&output).unwrap();
    folder.done(&shown[1..]);
    assert!(made == std::fs::read(&output).unwrap(), "the command shown makes the same file");

    let again = |kind: &str, name: &str, recipe: Value| json!({ "kind": kind, "input": output, "output": folder.path(name), "recipe": recipe });
    let decoded = studio.done(&again("dequantize", "d.safetensors", json!({ "decode_to": "f32" })));
    assert_eq!(decoded["failure"], Value::Null);
    studio.done(&again("migrate", "l.safetensors", json!({ "migrate_to": "comfy-legacy" })));
    let verify = json!({ "kind": "verify", "input": input, "output": output });
    let verified = studio.done(&verify);
    let report = studio.get(&format!("/api/report?job={}", verified["id"].as_str().unwrap()));
    assert_eq!(report["ok"], true);
    let trial = json!({ "kind": "try", "input": input, "recipe": { "scheme": "int8-row" } });
    let trial = studio.done(&trial);
    let report = studio.get(&format!("/api/report?job={}", trial["id"].as_str().unwrap()));
    let converted = studio.get(&format!("/api/report?job={}", job["id"].as_str().unwrap()));
    assert!(report["weight_error"].as_f64() < converted["weight_error"].as_f64());
    let elements: u64 = 2 * report["elements"].as_u64().unwrap();
    assert!(elements > 0 && elements < std::fs::metadata(&input).unwrap().len());
    for (name, exists) in
        [("d.safetensors", true), ("l.safetensors", true), ("m-int8-row.safetensors", false)]
    {
        assert_eq!(folder.path(name).exists(), exists, "{name}");
    }
    let repair = studio.ask("POST", "/api/jobs", &again("repair", "r.safetensors", json!({})));
    assert_eq!(repair.0, 422, "{repair:?}");
    assert!(repair.1.contains("nothing_to_repair"));
}

#[test]
fn a_killed_studio_takes_its_worker_along_and_the_job_goes_on_to_the_same_bytes() {
    let matrix = gaussian(256, 1024, 1);
    let tensors: Vec<Tensor> =
        (0..24).map(|index| Tensor::bf16(&format!("blocks.{index}.ff.weight"), &matrix)).collect();
    let folder = Folder::with("m.safetensors", &safetensors(&tensors));
    folder.done(&["convert", "m.safetensors", "-o", "expected", "--scale-rule", "mse"]);
    let output = folder.path("o.safetensors");
    let order = json!({
        "kind": "convert", "input": folder.path("m.safetensors"), "output": output,
        "recipe": { "scale_rule": "mse" }, "run": { "threads": 1 },
    });
    let mut studio = Studio::start(&folder.path("state"));
    let id = studio.add(&order);
    studio.wait_for(&id, |job| job["finished_tensors"].as_u64() > Some(1));
    studio.child.kill().unwrap();
    studio.child.wait().unwrap();
    // The end of its standard input stops the worker; the next studio finds what it has left.
    let studio = Studio::start(&folder.path("state"));
    let job = studio.get(&format!("/api/jobs/{id}"));
    assert_eq!((&job["state"], &job["can_continue"]), (&json!("interrupted"), &json!(true)));
    let since = Instant::now();
    loop {
        let (_, answer) = studio.ask("POST", &format!("/api/jobs/{id}/continue"), &json!({}));
        let job = studio.wait_for(&id, |job| job["state"] == "done" || job["state"] == "failed");
        if job["state"] == "done" {
            break;
        }
        // The worker of the killed studio may still be at its last tensor.
        assert!(since.elapsed() < Duration::from_secs(30), "{job} {answer}");
    }
    assert!(std::fs::read(&output).unwrap() == folder.read("expected"));
    let report = studio.get(&format!("/api/report?job={id}"));
    assert!(report["recalled_tensors"].as_u64() > Some(0), "{}", report["recalled_tensors"]);
}

#[test]
fn what_keeps_the_page_from_opening_is_one_clear_line() {
    let folder = Folder::new();
    folder.refused(&["studio", "nothing.safetensors", "--no-open"], 1, &["there is no such file"]);
    folder.write("file", b"");
    let state = ["studio", "--no-open", "--state", "file"];
    folder.refused(&state, 1, &["cannot be used to remember jobs", "`--state FOLDER`"]);
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let run = folder.run(&["studio", "--no-open", "--state", "state", "--port", &port]);
    run.must_say(1, &[&port, "cannot be used", "`--port PORT`"]);
}

#[cfg(unix)]
#[test]
fn a_user_without_a_home_is_told_how_to_name_a_folder() {
    let folder = Folder::new();
    let mut tool = Command::new(tool::binary());
    tool.args(["studio", "--no-open"]).env("HOME", "/dev/null/none");
    tool.env_remove("XDG_STATE_HOME").env_remove("XDG_DATA_HOME").current_dir(folder.root());
    let run = tool::Run::of(tool.output().unwrap());
    run.must_say(1, &["/dev/null/none", "cannot be used to remember jobs", "`--state FOLDER`"]);
}

/// What opens a browser is looked for in `PATH`.
#[cfg(unix)]
#[test]
fn without_a_browser_the_address_in_the_terminal_opens_the_page() {
    let folder = Folder::new();
    let mut tool = Command::new(tool::binary());
    tool.args(["studio", "--port", "0", "--state"]).arg(folder.path("state"));
    let studio = Studio::of(tool.env("PATH", "").env_remove("BROWSER"));
    assert_eq!(studio.get("/api/jobs")["jobs"], json!([]));
}

#[test]
fn a_second_studio_finds_the_first() {
    let folder = Folder::new();
    let studio = Studio::start(&folder.path("state"));
    let said = folder.done(&["studio", "--no-open", "--state", "state"]);
    assert!(said.contains(&studio.host) && said.contains(&studio.key), "{said}");
}

#[test]
fn a_report_becomes_a_page_of_one_file_and_two_are_compared() {
    let folder = crate::plain();
    for (scheme, name) in [("fp8", "a"), ("int8-row", "b")] {
        let report = format!("{name}.json");
        folder.done(&[
            "convert",
            "m.safetensors",
            "-o",
            name,
            "--scheme",
            scheme,
            "--report",
            &report,
        ]);
    }
    folder.done(&["report", "a.json"]);
    let page = String::from_utf8(folder.read("a.html")).unwrap();
    assert!(page.contains("\"scheme\":\"fp8\"") && page.contains("Content-Security-Policy"));
    for outside in ["<link", "<img", "src=", "@import", "import("] {
        assert!(!page.contains(outside), "{outside}");
    }
    folder.refused(&["report", "a.json"], 1, &["exists already", "`--force`"]);
    folder.done(&["report", "a.json", "b.json", "-o", "both.html"]);
    let both = String::from_utf8(folder.read("both.html")).unwrap();
    assert!(both.contains("\"scheme\":\"fp8\"") && both.contains("\"scheme\":\"int8-row\""));
    folder.refused(&["report", "m.safetensors"], 1, &["m.safetensors"]);
    folder.write("x.json", b"{}");
    folder.refused(&["report", "x.json"], 1, &["is no report", "--report"]);
    folder.refused(&["report", "a.json", "-o", "a.json", "--force"], 2, &["is a report"]);
}
