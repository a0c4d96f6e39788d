//! Parts made apart add up to the file that one machine makes, or are refused.

use std::process::Command;

use crate::tool::{Folder, Run, binary, chroma_model, matrix, vector};
use roundwise_testkit::files::{Tensor, safetensors};
use roundwise_testkit::weights::Matrix;

fn model() -> Vec<u8> {
    let nan = Matrix { rows: 8, cols: 8, values: vec![f32::NAN; 64] };
    safetensors(&[
        matrix("a.weight", 64, 64),
        vector("a.bias", 64),
        matrix("b.weight", 128, 64),
        matrix("c.weight", 32, 128),
        matrix("d.weight", 64, 32),
        vector("norm.weight", 64),
        Tensor::f32("nan.weight", &nan),
    ])
}

const LEARNED: [&str; 4] = ["--method", "principal", "--top-k", "2"];

/// Paths of all parts, made one after the other.
fn make(folder: &Folder, output: &str, count: usize, flags: &[&str]) -> Vec<String> {
    let digits = count.to_string().len();
    let part = |number: usize| {
        let share = format!("{number}/{count}");
        let base = ["convert", "m.safetensors", "-o", output, "--part", &share];
        folder.done(&[&base[..], flags].concat());
        let stem = output.strip_suffix(".safetensors").unwrap();
        format!("{stem}.part-{number:0digits$}-of-{count}.safetensors")
    };
    (1..=count).map(part).collect()
}

fn merge(folder: &Folder, parts: &[String], output: &str) -> Run {
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    folder.run(&[&["merge", "-o", output], &parts[..]].concat())
}

/// A part is not the model, nor a shard of it.
#[test]
fn a_part_is_told_from_a_model() {
    let folder = Folder::with("m.safetensors", &model());
    let parts = make(&folder, "p.safetensors", 2, &[]);
    let text = folder.done(&["inspect", &parts[0]]);
    assert!(text.contains("it is part 1 of 2 of a model, for `roundwise merge`"), "{text}");
    assert!(!text.contains("shard"), "{text}");
    folder.write("known.safetensors", &chroma_model());
    let text = folder.done(&["convert", "known.safetensors", "--part", "1/2"]);
    assert!(
        text.contains("opened by ComfyUI 0.3.68 or newer, once all parts are merged"),
        "{text}"
    );
    folder.refused(&["convert", &parts[0], "--scheme", "int8"], 1, &["part 1 of 2", "merge"]);
    let run = merge(&folder, &parts[..1], "merged.safetensors");
    assert!(run.stderr.contains("1 of 2 parts were given; missing: part 2"), "{}", run.stderr);
    let words = ["there is no part 3 of 2"];
    folder.refused(&["convert", "m.safetensors", "--part", "3/2"], 2, &words);
}

#[test]
fn any_number_of_parts_is_the_file_of_one_machine() {
    let folder = Folder::with("m.safetensors", &model());
    let [shared, halves] =
        ["fp8-log-scales-shared", "fp16-scaled"].map(|scheme| ["--scheme", scheme]);
    let legacy = ["--layout", "comfy-legacy"];
    for flags in [&[][..], &LEARNED, &legacy, &["--no-provenance"], &shared, &halves] {
        folder.done(
            &[&["convert", "m.safetensors", "-o", "one.safetensors", "--force"], flags].concat(),
        );
        for count in [1, 3, 12] {
            let mut parts = make(&folder, "p.safetensors", count, flags);
            parts.reverse();
            let run = merge(&folder, &parts, "merged.safetensors");
            assert_eq!(run.code, 0, "{}", run.stderr);
            assert!(
                folder.read("merged.safetensors") == folder.read("one.safetensors"),
                "{flags:?}"
            );
            std::fs::remove_file(folder.path("merged.safetensors")).unwrap();
            parts.iter().for_each(|part| std::fs::remove_file(folder.path(part)).unwrap());
        }
    }
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let folder = Folder::with("m.safetensors", &model());
    let parts = make(&folder, "p.safetensors", 3, &[]);
    let refused = |parts: &[&String], words: &[&str]| {
        let parts: Vec<&str> = parts.iter().map(|part| part.as_str()).collect();
        folder.refused(&[&["merge", "-o", "out.safetensors"], &parts[..]].concat(), 1, words);
    };
    let [first, second, third] = &parts[..] else { panic!("three parts") };
    refused(&[first, third], &["2 of 3 parts were given; missing: part 2"]);
    refused(&[first, second, third, second], &["part 2 of 3", "part-2-of-3"]);
    let whole = "m.safetensors".to_owned();
    refused(&[first, &whole], &["m.safetensors", "no part"]);
    let other = make(&folder, "q.safetensors", 3, &["--scheme", "int8"]);
    refused(&[first, second, &other[2]], &["q.part-3", "recipe"]);
    let other = make(&folder, "r.safetensors", 4, &[]);
    refused(&[first, second, &other[2]], &["r.part-3", "number of parts"]);
    // Another input of the same names and shapes.
    let mut changed = model();
    *changed.last_mut().unwrap() ^= 1;
    folder.write("m.safetensors", &changed);
    let other = make(&folder, "s.safetensors", 3, &[]);
    refused(&[first, second, &other[2]], &["s.part-3", "another input"]);
    // Another version.
    let bytes = folder.read(third);
    let mut file = crate::tool::File::parse(&bytes);
    let entry = file.metadata.get_mut("roundwise_part").unwrap();
    *entry = entry.replace("\"version\":\"0.", "\"version\":\"9.");
    assert!(entry.contains("\"9."), "{entry}");
    folder.write(third, &file.bytes());
    refused(&[first, second, third], &["p.part-3", "another version"]);
}

#[test]
fn schedulers_number_the_parts() {
    let folder = Folder::with("m.safetensors", &model());
    let run = |part: &str, variables: &[(&str, &str)]| {
        let mut tool = Command::new(binary());
        tool.args(["convert", "m.safetensors", "-o", "p.safetensors", "-q", "--part", part]);
        tool.current_dir(folder.root()).envs(variables.iter().copied());
        Run::of(tool.output().unwrap())
    };
    let made = |name: &str| {
        assert!(folder.path(name).is_file(), "{name}: {:?}", folder.names());
    };
    run("auto/16", &[("SLURM_ARRAY_TASK_ID", "3")]).must_say(0, &[]);
    made("p.part-03-of-16.safetensors");
    run("auto/4", &[("JOB_COMPLETION_INDEX", "3")]).must_say(0, &[]);
    made("p.part-4-of-4.safetensors");
    let array = |least, count| {
        let task = ("SLURM_ARRAY_TASK_ID", "2");
        let least = ("SLURM_ARRAY_TASK_MIN", least);
        [task, least, ("SLURM_ARRAY_TASK_MAX", "2"), ("SLURM_ARRAY_TASK_COUNT", count)]
    };
    run("auto", &array("1", "2")).must_say(0, &[]);
    made("p.part-2-of-2.safetensors");
    // Only what failed is run again: the array says nothing about the number of parts.
    run("auto", &array("2", "1")).must_say(2, &["auto/16"]);
    run("auto/16", &[("SLURM_ARRAY_TASK_ID", "0")]).must_say(2, &["--array=1-16"]);
    run("auto/16", &[]).must_say(2, &["3/16"]);
    for part in ["0/3", "4/3", "x", "1/0", "1/99999"] {
        run(part, &[]).must_say(2, &["3/16"]);
    }
}
