//! Jobs from their order to their end, with workers that follow a script.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use roundwise_studio::{Begun, Studio};
use serde_json::{Value, json};

use crate::client::{Server, setup};

/// Phases and one tensor, as `convert --events` tells them.
const BEGINNING: &str = r#"
echo '{"event":"phase","name":"converting","tensors":2,"bytes":10}'
echo '{"event":"begun","tensor":"a"}'
echo '{"event":"progress","bytes_done":5,"bytes_per_second":2.5,"seconds_left":2.0}'
echo '{"event":"finished","output":"o","is_recalled":false,"tensor":{"name":"a","shape":[2,2],"decision":"quantize"}}'
"#;

/// The report, and the end.
const END: &str = r#"
echo '{"event":"done","report":{"report_version":2,"seconds":2.0,"weight_error":0.02,"tensors":[{"name":"a","shape":[2,2],"decision":"quantize"}]}}'
exit 0
"#;

/// Waits for `stop`, or for the end of standard input, and stops as the tool does.
const UNTIL_STOPPED: &str = r#"
read line
echo "stopping after: $line" >&2
printf '%s\n' '{"event":"failed","kind":"unfinished","message":"stopped\n  1 of 2 tensors are finished","unfinished_files":["o.partial"]}'
exit 130
"#;

struct Workplace {
    folder: tempfile::TempDir,
}

impl Workplace {
    fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        crate::write_model(folder.path());
        let place = Self { folder };
        place.set_script(script);
        place
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("worker.sh")
    }

    /// What a worker does from now on; `$@` are the words of its command.
    fn set_script(&self, script: &str) {
        let text = format!("#!/bin/sh\necho \"$@\" >> \"$(dirname \"$0\")/commands\"\n{script}");
        // A script that is written while another thread forks could not be started.
        let new = self.folder.path().join("new.sh");
        std::fs::write(&new, text).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(&new, self.program()).unwrap();
    }

    fn commands(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("commands")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until so many workers have got to note what they were started with; one may be killed
    /// before.
    fn wait_for_commands(&self, count: usize) {
        while self.commands().len() < count {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn server(&self) -> Server {
        Server::start(setup(&self.state(), self.program()))
    }

    fn input(&self) -> PathBuf {
        self.folder.path().join("m.safetensors")
    }

    fn order(&self, output: &str) -> Value {
        json!({
            "kind": "convert",
            "input": self.input(),
            "output": self.folder.path().join(output),
            "recipe": { "scheme": "int8-row", "keep": ["^head$"] },
        })
    }

    /// Adds a job and returns its number.
    #[track_caller]
    fn add(&self, server: &Server, output: &str) -> String {
        let answer = server.post("/api/jobs", &self.order(output));
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["id"].as_str().unwrap().to_owned()
    }
}

/// A name of an event, with its state where it has one.
fn name(event: &Value) -> String {
    let name = event["event"].as_str().unwrap().to_owned();
    event["state"].as_str().map_or(name.clone(), |state| format!("{name} {state}"))
}

#[test]
fn a_job_goes_from_its_order_to_its_report() {
    let place = Workplace::new(&format!("{BEGINNING}echo words >&2{END}"));
    let server = place.server();
    let events = server.events(0);
    let id = place.add(&server, "o.safetensors");
    let is_end = |event: &Value| name(event) == "state done";
    let mut seen = vec![];
    for event in events {
        let ends = is_end(&event);
        seen.push(event);
        if ends {
            break;
        }
    }
    let names: Vec<String> = seen.iter().map(name).collect();
    for expected in
        ["added", "state running", "phase", "begun", "progress", "finished", "done", "log"]
    {
        assert!(names.contains(&expected.to_owned()), "{expected}: {names:?}");
    }
    let numbers: Vec<u64> = seen.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    let job = server.wait_for(&id, "done");
    assert_eq!(job["finished"][0]["name"], "a");
    assert_eq!(job["log"], json!(["words"]));
    assert_eq!((&job["has_report"], &job["weight_error"]), (&json!(true), &json!(0.02)));
    let report = server.get(&format!("/api/report?job={id}")).json();
    assert_eq!(report["tensors"][0]["name"], "a");
    let command = &place.commands()[0];
    assert!(command.ends_with("--scheme=int8-row --keep=^head$ --events"), "{command}");
    let shown = job["command"].as_array().unwrap().iter().skip(1);
    let shown: Vec<&str> = shown.filter_map(Value::as_str).collect();
    assert_eq!(format!("{} --events", shown.join(" ")), *command, "what is shown is what runs");
    // What was learned gives the next job a time.
    let plan = server.post("/api/plan", &place.order("p.safetensors")).status;
    assert_eq!(plan, 400, "a plan has no kind");
    let plan = json!({ "input": place.input(), "recipe": { "scheme": "int8-row" } });
    let plan = server.post("/api/plan", &plan).json();
    assert_eq!(
        (&plan["estimated_from"], plan["estimated_seconds"].is_f64()),
        (&json!("job"), true)
    );
}

#[test]
fn one_job_runs_at_a_time_and_the_queue_can_wait() {
    let place = Workplace::new(&format!("{BEGINNING}{UNTIL_STOPPED}"));
    let server = place.server();
    let [first, second, third] = ["1", "2", "3"].map(|name| place.add(&server, name));
    server.wait_for(&first, "running");
    let state = |id: &str| server.get(&format!("/api/jobs/{id}")).json()["state"].clone();
    assert_eq!((state(&second), state(&third)), (json!("waiting"), json!("waiting")));
    server.post(&format!("/api/jobs/{third}/move"), &json!({ "before": second }));
    server.post("/api/queue", &json!({ "runs": false }));
    let asked = Instant::now();
    server.post(&format!("/api/jobs/{first}/stop"), &json!({}));
    let job = server.wait_for(&first, "stopped");
    assert!(asked.elapsed() < Duration::from_secs(10));
    assert_eq!(job["failure"]["unfinished_files"], json!(["o.partial"]));
    assert_eq!(job["log"], json!(["stopping after: stop"]));
    assert_eq!(place.commands().len(), 1, "the queue waits");
    server.post("/api/queue", &json!({ "runs": true }));
    server.wait_for(&third, "running");
    assert_eq!(state(&second), "waiting");
    for (action, id, status) in [
        ("remove", &third, 409),
        ("continue", &third, 409),
        ("stop", &first, 409),
        ("kill", &second, 409),
        ("dance", &second, 404),
        ("remove", &second, 200),
        ("remove", &second, 404),
    ] {
        let answer = server.post(&format!("/api/jobs/{id}/{action}"), &json!({}));
        assert_eq!(answer.status, status, "{action} {id}: {answer:?}");
    }
}

#[test]
fn what_does_not_heed_is_killed_and_goes_on_with_the_same_command() {
    let place = Workplace::new(&format!("{BEGINNING}exec sleep 100"));
    let server = place.server();
    let id = place.add(&server, "o");
    server.wait_for(&id, "running");
    place.wait_for_commands(1);
    server.post(&format!("/api/jobs/{id}/stop"), &json!({}));
    server.wait_for(&id, "stopping");
    server.post(&format!("/api/jobs/{id}/kill"), &json!({}));
    server.wait_for(&id, "stopped");
    place.set_script(&format!("{BEGINNING}{END}"));
    server.post(&format!("/api/jobs/{id}/continue"), &json!({}));
    let job = server.wait_for(&id, "done");
    assert_eq!(job["finished"].as_array().unwrap().len(), 1, "of the second run alone");
    let commands = place.commands();
    assert_eq!(commands[0], commands[1]);
}

#[test]
fn a_fresh_start_throws_the_work_away_and_only_that_one() {
    let place = Workplace::new("exit 1");
    let server = place.server();
    let id = place.add(&server, "o");
    for action in ["fresh", "continue"] {
        server.wait_for(&id, "failed");
        server.post(&format!("/api/jobs/{id}/{action}"), &json!({}));
        // The state is set before the answer comes, and again when the worker ends.
        place.wait_for_commands(2 + usize::from(action == "continue"));
    }
    let job = server.wait_for(&id, "failed");
    assert_eq!(job["failure"]["kind"], "died");
    let fresh: Vec<bool> = place.commands().iter().map(|it| it.ends_with("--fresh")).collect();
    assert_eq!(fresh, [false, true, false]);
}

#[test]
fn a_server_that_ends_stops_its_worker_and_the_next_one_shows_it() {
    let place = Workplace::new(&format!("{BEGINNING}{UNTIL_STOPPED}"));
    let server = place.server();
    let [first, second] = ["1", "2"].map(|name| place.add(&server, name));
    server.wait_for(&first, "running");
    server.end();
    let server = place.server();
    let list = server.get("/api/jobs").json();
    assert_eq!(list["runs"], false, "the queue waits to be continued");
    let states: Vec<_> = list["jobs"].as_array().unwrap().iter().map(|job| &job["state"]).collect();
    assert_eq!(states, ["waiting", "interrupted"]);
    place.set_script(&format!("{BEGINNING}{END}"));
    server.post(&format!("/api/jobs/{first}/continue"), &json!({}));
    server.wait_for(&first, "done");
    assert_eq!(server.get(&format!("/api/jobs/{second}")).json()["state"], "waiting");
    server.post("/api/queue", &json!({ "runs": true }));
    server.wait_for(&second, "done");
    let report = server.get(&format!("/api/report?job={second}"));
    assert_eq!(report.status, 200);
    server.end();
    let server = place.server();
    assert_eq!(server.get("/api/jobs").json()["runs"], true, "nothing is left");
    assert_eq!(server.get(&format!("/api/report?job={second}")).status, 200);
}

#[test]
fn what_a_killed_server_left_running_is_interrupted() {
    let place = Workplace::new(&format!("{BEGINNING}{END}"));
    let server = place.server();
    let id = place.add(&server, "1");
    server.wait_for(&id, "done");
    server.end();
    // As it would be, had the server been killed meanwhile.
    let path = place.state().join("jobs").join(&id).join("job.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"done\"", "\"running\"")).unwrap();
    std::fs::create_dir(place.state().join("jobs/9")).unwrap();
    std::fs::write(place.state().join("jobs/9/job.json"), "{").unwrap();
    let server = place.server();
    let jobs = server.get("/api/jobs").json();
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 1, "what cannot be read is passed over");
    assert_eq!(jobs["jobs"][0]["state"], "interrupted");
}

#[test]
fn a_second_server_finds_the_first() {
    let place = Workplace::new("exit 1");
    let server = place.server();
    let Ok(Begun::Running { address }) = Studio::begin(setup(&place.state(), place.program()))
    else {
        panic!("two servers in one folder")
    };
    assert_eq!(address, format!("http://127.0.0.1:{}/#key={}", server.port, server.key));
    let port = Some(server.port);
    let elsewhere = place.folder.path().join("other");
    let taken =
        Studio::begin(roundwise_studio::Setup { port, ..setup(&elsewhere, place.program()) });
    let message = taken.err().unwrap().to_string();
    assert!(message.contains(&server.port.to_string()), "{message}");
}

#[test]
fn what_is_remembered_is_for_its_owner_alone() {
    let place = Workplace::new("exit 1");
    let _server = place.server();
    for path in [place.state(), place.state().join("jobs")] {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", path.display());
    }
    let file = place.folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let message = Studio::begin(setup(&file, place.program())).err().unwrap().to_string();
    assert!(message.contains("cannot be used to remember jobs"), "{message}");
}

#[test]
fn a_fifth_stream_ends_the_oldest_and_an_old_number_asks_to_reload() {
    let place = Workplace::new("exit 1");
    let server = place.server();
    let mut streams: Vec<_> = (0..4).map(|_| server.events(7)).collect();
    for stream in &mut streams {
        assert_eq!(name(&stream.next().unwrap()), "reload", "no event has number 7 yet");
    }
    let mut newest = server.events(0);
    let oldest: Vec<String> = streams.remove(0).map(|event| name(&event)).collect();
    assert_eq!(oldest, ["crowded"]);
    server.post("/api/queue", &json!({ "runs": true }));
    for stream in streams.iter_mut() {
        assert_eq!(name(&stream.next().unwrap()), "queue");
    }
    assert_eq!(name(&newest.next().unwrap()), "queue");
}

#[test]
fn words_that_are_no_events_are_log_and_hostile_ones_stay_text() {
    let place = Workplace::new(
        "echo 'no json'\necho '[1]'\necho '{\"event\":7}'\nprintf '{\"event\":\"failed\",\"message\":\"\\\\u001b[31m</script>\"}\\n'\n\
         head -c 300000 /dev/zero | tr '\\0' x\nexit 1",
    );
    let server = place.server();
    let id = place.add(&server, "o");
    let job = server.wait_for(&id, "failed");
    assert_eq!(job["failure"]["message"], "\u{1b}[31m</script>");
    let log: Vec<&str> = job["log"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(&log[..3], ["no json", "[1]", "{\"event\":7}"]);
    assert_eq!(log[3].len(), 300_000);
}

#[test]
fn a_program_that_is_gone_is_told() {
    let place = Workplace::new("exit 1");
    std::fs::remove_file(place.program()).unwrap();
    let server = place.server();
    let id = place.add(&server, "o");
    let job = server.wait_for(&id, "failed");
    assert_eq!(job["failure"]["kind"], "start");
}
