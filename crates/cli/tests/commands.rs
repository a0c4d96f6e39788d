//! The tool behaves: what it is asked for comes out, in text, files and exit codes.

mod tool;

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use roundwise_testkit::files::{Tensor, safetensors, safetensors_with_metadata};
use roundwise_testkit::weights::gaussian;
use serde_json::Value;
use tool::{
    File, Folder, PLAIN_WEIGHTS, Run, chroma_model, clip_model, e4m3, matrix, plain_model, t5_model,
};

fn plain() -> Folder {
    Folder::with("m.safetensors", &plain_model())
}

/// What a plan or a report in JSON says of a tensor.
#[track_caller]
fn entry<'a>(json: &'a Value, name: &str) -> &'a Value {
    let list = json.get("tensors").or(json.get("layers")).unwrap().as_array().unwrap();
    list.iter().find(|entry| entry["name"] == name).unwrap_or_else(|| panic!("no `{name}`: {json}"))
}

/// `decision: reason` of a tensor under these flags.
#[track_caller]
fn decided(folder: &Folder, name: &str, flags: &[&str]) -> String {
    let arguments = [&["plan", "m.safetensors", "--json"], flags].concat();
    let plan = folder.json(&arguments);
    let text = |key| entry(&plan, name)[key].as_str().unwrap_or_default().to_owned();
    format!("{}{}: {}", text("decision"), text("scheme"), text("reason"))
}

mod convert {
    use super::*;

    #[test]
    fn needs_nothing_but_a_file() {
        let folder = plain();
        let text = folder.done(&["convert", "m.safetensors"]);
        assert_eq!(folder.names(), ["m-fp8.safetensors", "m.safetensors"]);
        assert_eq!(folder.read("m.safetensors"), plain_model());
        for line in [
            "m.safetensors → m-fp8.safetensors\n",
            "unrecognised model (preset generic): 2 converted, 4 kept, 0 removed\n",
            "2 weights: fp8, opened by ComfyUI 0.3.68 or newer\n",
            "kept  4-D (convolution): conv.weight\n",
            "kept  a vector (norm gain or scale): blocks.0.norm.weight\n",
            "all weights together",
        ] {
            assert!(text.contains(line), "`{line}` is not in: {text}");
        }
        let file = folder.file("m-fp8.safetensors");
        assert_eq!(file.get("blocks.0.ff.in.comfy_quant").bytes, br#"{"format": "float8_e4m3fn"}"#);
        assert_eq!(file.metadata["author"], "nobody \"at all\"");
        folder.done(&["inspect", "m-fp8.safetensors"]);
        folder.done(&["verify", "m.safetensors", "m-fp8.safetensors"]);
    }

    #[test]
    fn every_scheme_fits_every_layout_that_admits_it() {
        let folder = plain();
        let schemes = folder.json(&["schemes", "--json"]);
        for scheme in schemes.as_array().unwrap() {
            let name = scheme["name"].as_str().unwrap();
            // A scheme that one layout alone has a place for chooses it.
            let is_legacy = name.starts_with("fp8-log-scales") || name == "fp16-scaled";
            let ending = if is_legacy { "-legacy" } else { "" };
            let output = format!("m-{name}{ending}.safetensors");
            folder.done(&["convert", "m.safetensors", "--quiet", "--scheme", name]);
            let verified = folder.json(&["verify", "m.safetensors", &output, "--json"]);
            let layers = verified["layers"].as_array().unwrap();
            // The model is in BF16 already, so that nothing is rounded.
            assert_eq!(layers.len(), if name == "bf16" { 0 } else { 2 });
            assert!(layers.iter().all(|layer| layer["scheme"] == name), "{layers:?}");
            let flags = ["convert", "m.safetensors", "--layout", "comfy-legacy", "--scheme", name];
            match name {
                "fp8" => drop(folder.done(&flags)),
                _ if is_legacy => {
                    let flags = ["convert", "m.safetensors", "--layout", "comfy", "--scheme", name];
                    folder.run(&flags).must_say(2, &["`comfy` cannot store", "`comfy-legacy`"]);
                }
                _ => folder.run(&flags).must_say(2, &["`comfy-legacy` cannot store", name]),
            }
        }
        let legacy = folder.file("m-fp8-legacy.safetensors");
        assert_eq!(legacy.get("scaled_fp8").shape, [2]);
        assert_eq!(legacy.get("blocks.0.ff.in.scale_weight").shape, [1]);
        folder.done(&["verify", "m.safetensors", "m-fp8-legacy.safetensors"]);
    }

    #[test]
    fn takes_blocks_of_any_size() {
        let folder = plain();
        folder.done(&["convert", "m.safetensors", "--scheme", "int8-block-32"]);
        let file = folder.file("m-int8-block-32.safetensors");
        assert_eq!(file.get("blocks.0.ff.in.weight_scale").shape, [8, 4]);
        let ragged = decided(&folder, PLAIN_WEIGHTS[0], &["--scheme", "int8-block-96"]);
        assert!(ragged.starts_with("copy: rows are not a multiple of 96"), "{ragged}");
    }

    #[test]
    fn searches_scales() {
        let folder = plain();
        folder.done(&["convert", "m.safetensors"]);
        let [absmax, mse] = ["absmax", "mse"].map(|rule| {
            let flags = ["--scheme", "int8-row", "--force", "--json", "--scale-rule", rule];
            let report = folder.json(&[&["convert", "m.safetensors"], &flags[..]].concat());
            report["weight_error"].as_f64().unwrap()
        });
        assert!(mse < absmax, "{mse} {absmax}");
        folder.done(&["verify", "m.safetensors", "m-int8-row.safetensors"]);
    }

    #[test]
    fn takes_folders_and_indexes() {
        let folder = Folder::new();
        let whole = File::parse(&plain_model());
        let index = r#"{"metadata":{},"weight_map":{"#.to_owned();
        let mut map = vec![];
        for (number, half) in [&whole.names()[..3], &whole.names()[3..]].into_iter().enumerate() {
            let shard = format!("model-0000{}-of-00002.safetensors", number + 1);
            let tensors: Vec<Tensor> = half.iter().map(|name| whole.get(name).clone()).collect();
            folder.write(&format!("big/{shard}"), &safetensors(&tensors));
            map.extend(half.iter().map(|name| format!("\"{name}\":\"{shard}\"")));
        }
        let index = index + &map.join(",") + "}}";
        folder.write("big/model.safetensors.index.json", index.as_bytes());
        folder.done(&["convert", "big"]);
        folder.done(&["convert", "big/model.safetensors.index.json"]);
        assert_eq!(folder.read("big-fp8.safetensors"), folder.read("big/model-fp8.safetensors"));
        let inspected = folder.json(&["inspect", "big/model.safetensors.index.json", "--json"]);
        assert_eq!(inspected["files"], 2);
        folder.done(&["verify", "big/model.safetensors.index.json", "big-fp8.safetensors"]);
    }

    #[test]
    fn replaces_only_when_told_to() {
        let folder = plain();
        folder.write("m-fp8.safetensors", b"mine");
        folder.refused(&["convert", "m.safetensors"], 1, &["m-fp8.safetensors", "--force"]);
        folder.done(&["convert", "m.safetensors", "--force"]);
        folder.done(&["verify", "m.safetensors", "m-fp8.safetensors"]);
        folder.write("r.json", b"mine");
        let arguments = ["convert", "m.safetensors", "-o", "x.safetensors", "--report", "r.json"];
        folder.refused(&arguments, 1, &["r.json", "--force"]);
    }

    #[test]
    fn never_writes_two_things_to_one_place() {
        let folder = plain();
        folder.write("other/m.safetensors", &plain_model());
        let inputs = ["convert", "m.safetensors", "other/m.safetensors"];
        let words = ["m.safetensors and other/m.safetensors would both become"];
        folder.refused(&[&inputs[..], &["--out-dir", "."]].concat(), 2, &words);
        folder.refused(&["convert", "m.safetensors", "./m.safetensors"], 2, &["would both become"]);
        let report = ["convert", "m.safetensors", "-o", "x", "--report", "./x"];
        folder.refused(&report, 2, &["m.safetensors and the report would both become"]);
        folder.refused(&[&inputs[..], &["-o", "x"]].concat(), 2, &["--out-dir"]);
        folder.refused(&[&inputs[..], &["--report", "x"]].concat(), 2, &["--report names one"]);
        folder.refused(&["convert", "m.safetensors", "-o", "other"], 2, &["is a folder"]);
        folder.refused(
            &["convert", "m.safetensors", "-o", "x", "--out-dir", "."],
            2,
            &["cannot be"],
        );
    }

    #[test]
    fn many_inputs_go_on_past_one_that_fails() {
        let folder = plain();
        folder.write("bad.safetensors", b"nonsense");
        folder.write("z.safetensors", &plain_model());
        std::fs::create_dir(folder.path("out")).unwrap();
        let inputs = ["m.safetensors", "bad.safetensors", "z.safetensors"];
        let arguments = [&["convert", "--out-dir", "out", "--json"], &inputs[..]].concat();
        let run = folder.run(&arguments);
        run.must_say(1, &["error: bad.safetensors:", "1 of 3 inputs failed: bad.safe"]);
        let reports: Value = serde_json::from_str(&run.stdout).unwrap();
        let inputs: Vec<_> = reports.as_array().unwrap().iter().map(|r| &r["input"]).collect();
        assert_eq!(inputs, ["m.safetensors", "z.safetensors"]);
        let names = ["bad.safetensors", "m.safetensors", "out/m-fp8.safetensors"];
        assert_eq!(
            folder.names(),
            [&names[..], &["out/z-fp8.safetensors", "z.safetensors"]].concat()
        );
        for input in ["m", "z"] {
            let output = format!("out/{input}-fp8.safetensors");
            folder.done(&["verify", &format!("{input}.safetensors"), &output]);
        }
    }

    #[test]
    fn a_command_that_fits_no_input_is_bad_usage_for_many_as_for_one() {
        let folder = plain();
        folder.write("n.safetensors", &plain_model());
        let flags = ["--keep", "in", "--include", "ff"];
        let both = ["convert", "m.safetensors", "n.safetensors"];
        let words = ["contradict each other", "2 of 2 inputs failed: m.safetensors, n.safetensors"];
        folder.refused(&[&both[..], &flags].concat(), 2, &words);
        folder.write("n.safetensors", b"nonsense");
        folder.refused(&[&both[..], &flags].concat(), 1, &["2 of 2 inputs failed"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_cannot_be_printed_is_converted_all_the_same() {
        for (flags, code, words) in [
            (&[][..], 0, "warning: cannot write to standard output"),
            (&["--json"], 1, "error: cannot write to standard output"),
        ] {
            let folder = plain();
            let mut tool = Command::new(tool::binary());
            let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
            let tool = tool.args(["convert", "m.safetensors"]).args(flags);
            let run = Run::of(tool.current_dir(folder.root()).stdout(full).output().unwrap());
            run.must_say(code, &[words, "No space left"]);
            folder.done(&["verify", "m.safetensors", "m-fp8.safetensors"]);
        }
    }

    #[test]
    fn json_of_one_input_is_an_object_and_of_more_an_array() {
        let folder = plain();
        folder.write("n.safetensors", &plain_model());
        assert!(folder.json(&["convert", "m.safetensors", "--json"]).is_object());
        let both = ["convert", "m.safetensors", "n.safetensors", "--json", "--force"];
        assert_eq!(folder.json(&both).as_array().unwrap().len(), 2);
        folder.write("bad.safetensors", b"");
        let run = folder.run(&["convert", "m.safetensors", "bad.safetensors", "--json", "--force"]);
        run.must_say(1, &["error: bad.safetensors: the file is 0 bytes"]);
        let json: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(json.as_array().unwrap().len(), 1);
        assert_eq!(json[0]["input"], "m.safetensors");
    }

    #[test]
    fn quiet_prints_nothing_but_errors() {
        let nan = [0xC0, 0x7F].repeat(1024);
        let bad = Tensor::new("bad.weight", "BF16", &[32, 32], nan);
        let bytes = safetensors(&[bad, matrix("good.weight", 32, 32)]);
        let folder = Folder::with("m.safetensors", &bytes);
        let run = folder.run(&["convert", "m.safetensors", "--quiet"]);
        assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (0, "", ""));
        folder.refused(&["convert", "m.safetensors", "-q"], 1, &["exists"]);
        let run = folder.run(&["convert", "m.safetensors", "--force"]);
        run.must_say(0, &["note: `bad.weight` holds a NaN"]);
        assert!(run.stdout.contains("row 0 holds a NaN or an infinity: bad.weight"));
    }

    #[test]
    fn draws_nothing_where_there_is_no_terminal() {
        let folder = plain();
        let run = folder.run(&["convert", "m.safetensors"]);
        assert_eq!(run.stderr, "");
        assert!(!run.stdout.contains('\u{1b}'));
    }

    #[test]
    fn a_reader_that_goes_away_stops_nothing() {
        let folder = plain();
        folder.write("n.safetensors", &plain_model());
        let mut tool = Command::new(tool::binary());
        let tool = tool.args(["convert", "m.safetensors", "n.safetensors"]);
        let tool = tool.current_dir(folder.root()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = tool.spawn().unwrap();
        drop(child.stdout.take());
        Run::of(child.wait_with_output().unwrap()).must_say(0, &[]);
        let names = ["m-fp8.safetensors", "m.safetensors", "n-fp8.safetensors", "n.safetensors"];
        assert_eq!(folder.names(), names);
        for input in ["m", "n"] {
            let output = format!("{input}-fp8.safetensors");
            folder.done(&["verify", &format!("{input}.safetensors"), &output]);
        }
    }

    /// A program that asked for a report and did not get all of it must not think that it has.
    #[test]
    fn a_report_that_nobody_takes_is_a_failure() {
        for command in ["convert", "plan", "inspect"] {
            let folder = plain();
            let mut tool = Command::new(tool::binary());
            let tool = tool.args([command, "m.safetensors", "--json"]).current_dir(folder.root());
            let tool = tool.stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = tool.spawn().unwrap();
            drop(child.stdout.take());
            let run = Run::of(child.wait_with_output().unwrap());
            run.must_say(1, &["error: cannot write to standard output"]);
        }
    }

    #[test]
    fn a_mistake_in_the_last_input_is_told_before_the_first_is_converted() {
        let folder = plain();
        folder.write("clip.safetensors", &clip_model());
        let inputs = ["convert", "m.safetensors", "clip.safetensors", "gone.safetensors"];
        let script = r#""$0" "$@" 2>&1"#;
        let mut shell = Command::new("sh");
        let shell = shell.args(["-c", script]).arg(tool::binary()).args(inputs);
        let run = Run::of(shell.current_dir(folder.root()).output().unwrap());
        let place = |words| run.stdout.find(words).unwrap_or_else(|| panic!("{}", run.stdout));
        let told = ["CLIP-L is not converted", "gone.safetensors: cannot open"].map(place);
        assert!(told.iter().all(|told| *told < place("2 converted")), "{}", run.stdout);
        assert!(place("2 converted") < place("2 of 3 inputs failed"), "{}", run.stdout);
        assert_eq!(run.code, 1);
    }

    #[test]
    fn the_folder_for_outputs_is_created_once_there_is_something_for_it() {
        let folder = plain();
        folder.write("bad.safetensors", b"nonsense");
        let refused = ["convert", "bad.safetensors", "--out-dir", "new/er"];
        folder.refused(&refused, 1, &["bad.safetensors"]);
        assert!(!folder.path("new").exists());
        folder.done(&["convert", "m.safetensors", "--out-dir", "new/er", "-q"]);
        folder.done(&["verify", "m.safetensors", "new/er/m-fp8.safetensors"]);
        let in_file = ["convert", "m.safetensors", "--out-dir", "m.safetensors/x"];
        folder.refused(&in_file, 1, &["m.safetensors/x: cannot create the folder"]);
    }
}

mod recipe {
    use super::*;

    #[test]
    fn flags_choose_layers_and_give_reasons() {
        let folder = plain();
        let [inner, outer] = PLAIN_WEIGHTS;
        for (flags, expected) in [
            (&[][..], "quantizefp8: linear weight"),
            (&["--keep", r"ff\.in"], r"copy: kept by `ff\.in`"),
            (&["--rule", r"\.in$=int8-row"], r"quantizeint8-row: rule `\.in$`"),
            (&["--min-size", "32769"], "copy: 32768 elements, under the minimum of 32769"),
            (&["--min-size", "32768"], "quantizefp8: linear weight"),
            (&["--heuristic", "basic"], "quantizefp8: linear weight"),
            (&["--heuristic", "classic"], "copy: size rule: longer side is below 4096"),
            (&["--heuristic", "classic", "--include", r"\.in"], r"quantizefp8: included by `\.in`"),
            // The first rule decides; the second is of use for the other layer.
            (&["--rule", r"\.in=int8", "--rule", "ff=fp8-row"], r"quantizeint8: rule `\.in`"),
        ] {
            assert_eq!(decided(&folder, inner, flags), expected, "{flags:?}");
        }
        assert_eq!(decided(&folder, outer, &["--keep", r"\.in"]), "quantizefp8: linear weight");
    }

    /// Notes of a plan under these flags.
    #[track_caller]
    fn notes(folder: &Folder, flags: &[&str]) -> Vec<String> {
        let arguments = [&["plan", "m.safetensors"], flags].concat();
        let text = folder.done(&arguments);
        let plan = folder.json(&[&arguments[..], &["--json"]].concat());
        let notes: Vec<String> = serde_json::from_value(plan["notes"].clone()).unwrap();
        let printed = text.lines().filter_map(|line| line.strip_prefix("note: "));
        assert!(printed.eq(notes.iter()), "{text}");
        notes
    }

    #[test]
    fn what_changes_nothing_is_noted() {
        let folder = plain();
        for (flags, expected) in [
            (&[][..], &[][..]),
            // Kept anyway; and the second pattern is covered by the first.
            (&["--keep", "conv"], &["keep `conv` changes nothing: what it matches is kept anyway"]),
            (
                &["--keep", r"ff\.in", "--keep", r"\.in"],
                &[r"keep `\.in` changes nothing: what it matches is kept anyway"],
            ),
            (
                &["--include", "ff"],
                &["include `ff` changes nothing: what it matches is converted anyway"],
            ),
            (&["--include", "ff", "--heuristic", "classic"], &["`--heuristic` changes nothing"]),
            (&["--include", "in", "--heuristic", "classic"], &[]),
            (&["--rule", "ff=fp8"], &["rule `ff` changes nothing: an earlier rule decides, or"]),
            (
                &["--rule", "ff=int8", "--rule", "in=fp8-row"],
                &["rule `in` changes nothing: an earlier rule decides, or"],
            ),
            (&["--rule", r"\.in=int8", "--rule", "ff=fp8-row"], &[]),
            (&["--ignore-base-list"], &["`--ignore-base-list` changes nothing: the base list"]),
            (&["--heuristic", "basic"], &["`--heuristic` changes nothing: every weight that"]),
            (&["--min-size", "32768"], &["`--min-size` changes nothing: every weight that"]),
            (
                &["--preset", "t5xxl"],
                &[
                    "preset `t5xxl` was asked for; the file looks like: unrecognised model (preset `gene",
                ],
            ),
            (&["--preset", "generic"], &[]),
        ] {
            let found = notes(&folder, flags);
            assert_eq!(found.len(), expected.len(), "{flags:?}: {found:?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!(found.starts_with(expected), "{flags:?}: {found}");
            }
        }
        let converted = folder.done(&["convert", "m.safetensors", "--keep", "conv"]);
        assert!(converted.contains("  note: keep `conv` changes nothing: what it matches is kept"));
    }

    #[test]
    fn flags_that_change_something_are_not_noted() {
        let folder = Folder::with("m.safetensors", &chroma_model());
        assert_eq!(notes(&folder, &["--keep-distillation"]).len(), 1, "preset chroma does it");
        for flags in [
            &["--preset", "distillation_small", "--keep-distillation"][..],
            &["--min-size", "4000"],
            &["--heuristic", "basic"],
        ] {
            let found = notes(&folder, flags);
            let others = found.iter().filter(|note| !note.starts_with("preset"));
            assert_eq!(others.count(), 0, "{flags:?}: {found:?}");
        }
        let folder = Folder::with("m.safetensors", &t5_model());
        assert_eq!(notes(&folder, &["--ignore-base-list", "--preset", "generic"]).len(), 1);
    }

    #[test]
    fn what_makes_no_sense_is_an_error() {
        let folder = plain();
        for (flags, words) in [
            (&["--keep", "qkv"][..], "keep `qkv` matches no tensor of this file"),
            (&["--include", "conv"], "include `conv` matches no weight of this file that can be"),
            (&["--rule", "norm=int8"], "rule `norm` matches no weight of this file that can be"),
            (&["--keep-distillation"], "`--keep-distillation` applies to no weight"),
            (&["--keep", "in", "--include", "ff"], "contradict each other"),
            (&["--keep", "in", "--rule", "ff=int8"], "contradict each other"),
            (&["--rule", "a=b=int8"], "rule `a=b` matches no weight"),
            (&["--rule", "int8"], "expected REGEX=SCHEME"),
            (&["--rule", "=int8"], "expected REGEX=SCHEME"),
            (&["--scheme", "int8", "--layout", "comfy-legacy"], "`comfy-legacy` cannot store"),
            (&["--rounding", "up"], "method `up` is not known; known: nearest"),
            (
                &["--method", "adaround", "--top-p", "0.1"],
                "`--top-p` does not apply to method `adaround`",
            ),
            (&["--effort", "high"], "`--effort` does not apply to method `nearest`"),
            (
                &["--method", "principal", "--lambda", "1", "--weight-error-budget", "0.1"],
                "`--lambda` and `--weight-error-budget` exclude each other",
            ),
            (&["--threads", "0"], "--threads"),
            (&["--quiet", "--json"], "cannot be used with"),
            (&["--nonsense"], "--nonsense"),
        ] {
            for command in ["plan", "convert"] {
                folder.refused(&[&[command, "m.safetensors"], flags].concat(), 2, &[words]);
            }
        }
    }

    /// A key of a file keeps its name, also beside a flag.
    #[test]
    fn what_was_typed_is_what_messages_name() {
        let folder = plain();
        folder.write("r.toml", b"method = 'adaround'\nmethod_options = { top_p = 0.1 }\n");
        let flags = ["plan", "m.safetensors", "--recipe", "r.toml", "--lambda", "0"];
        folder.refused(&flags, 2, &["`top_p` does not apply", "`--lambda` is 0; it has to be"]);
    }

    #[test]
    fn a_file_and_flags_add_up() {
        let folder = plain();
        let text = "scheme = 'int8'\nkeep = ['\\.in$']\nmin_size = 40_000\n\
                    [[rules]]\npattern = 'ff\\.out'\nscheme = 'fp8-row'\n";
        folder.write("r.toml", text.as_bytes());
        let [inner, outer] = PLAIN_WEIGHTS;
        let file = ["--recipe", "r.toml"];
        assert_eq!(decided(&folder, inner, &file), r"copy: kept by `\.in$`");
        assert_eq!(decided(&folder, outer, &file), r"quantizefp8-row: rule `ff\.out`");
        let flags = ["--recipe", "r.toml", "--rule", "out=int8-row", "--min-size", "0"];
        assert_eq!(decided(&folder, outer, &flags), "quantizeint8-row: rule `out`");
        let report = folder.json(&[&["convert", "m.safetensors", "--json"], &flags[..]].concat());
        assert_eq!(report["options"]["scheme"], "int8");
        assert_eq!(report["options"]["min_size"], 0);
        assert_eq!(report["options"]["rules"].as_array().unwrap().len(), 2);
        assert_eq!(report["output"], "m-int8.safetensors");
    }
}

mod models {
    use super::*;

    #[test]
    fn the_decoder_of_a_t5_is_removed() {
        let folder = Folder::with("m.safetensors", &t5_model());
        for flags in [&[][..], &["--preset", "t5xxl"]] {
            let report =
                folder.json(&[&["convert", "m.safetensors", "--force", "--json"], flags].concat());
            assert_eq!((&report["preset"], &report["removed"]), (&"t5xxl".into(), &2.into()));
            let file = folder.file("m-fp8.safetensors");
            assert!(file.names().iter().all(|n| !n.contains("decoder") && !n.contains("lm_head")));
            for kept in ["shared.weight", "encoder.final_layer_norm.weight"] {
                assert_eq!(file.dtype(kept), "BF16");
            }
            assert_eq!(file.get("spiece_model").bytes, [1, 2, 3]);
            let weight = "encoder.block.0.layer.0.SelfAttention.k.weight";
            assert_eq!(file.dtype(weight), "F8_E4M3");
        }
        let verified = folder.json(&["verify", "m.safetensors", "m-fp8.safetensors", "--json"]);
        assert_eq!(verified["removed"].as_array().unwrap().len(), 2);
        let legacy = ["convert", "m.safetensors", "--layout", "comfy-legacy"];
        folder.done(&legacy);
        assert_eq!(folder.file("m-fp8-legacy.safetensors").get("scaled_fp8").shape, [0]);
    }

    /// ComfyUI's loader of text encoders looks for `scaled_fp8` without any prefix.
    #[test]
    fn a_legacy_text_encoder_is_marked_where_its_loader_looks() {
        let tensors = File::parse(&t5_model()).tensors.into_values();
        let prefixed: Vec<Tensor> =
            tensors.map(|t| Tensor { name: format!("transformer.{}", t.name), ..t }).collect();
        let folder = Folder::with("m.safetensors", &safetensors(&prefixed));
        folder.done(&["convert", "m.safetensors", "--layout", "comfy-legacy"]);
        let file = folder.file("m-fp8-legacy.safetensors");
        assert_eq!(file.get("scaled_fp8").shape, [0]);
        assert!(!file.tensors.contains_key("transformer.scaled_fp8"));
        folder.done(&["verify", "m.safetensors", "m-fp8-legacy.safetensors"]);
    }

    #[test]
    fn clip_is_refused_with_the_reason() {
        let folder = Folder::with("m.safetensors", &clip_model());
        let words = ["m.safetensors", "CLIP-L is not converted", "no path for codes"];
        folder.refused(&["convert", "m.safetensors"], 1, &words);
        folder.refused(&["plan", "m.safetensors"], 1, &words);
    }

    #[test]
    fn distilled_layers_are_kept_on_request() {
        let folder = Folder::with("m.safetensors", &chroma_model());
        let small = ["--preset", "distillation_small"];
        let head = "final_layer.linear.weight";
        assert_eq!(decided(&folder, head, &small), "quantizefp8: linear weight");
        for flags in [&["--keep-distillation"][..], &[]] {
            assert!(decided(&folder, head, flags).ends_with("(preset chroma)"));
        }
        let both = ["--preset", "distillation_small", "--keep-distillation"];
        for name in [head, "img_in.weight", "txt_in.weight"] {
            assert!(decided(&folder, name, &both).ends_with("(preset chroma)"), "{name}");
        }
        let block = "double_blocks.0.img_attn.qkv.weight";
        assert_eq!(decided(&folder, block, &both), "quantizefp8: linear weight");
    }

    /// ComfyUI looks for one legacy marker per model; only the main one gets it.
    #[test]
    fn legacy_files_convert_the_main_model_only() {
        let part = |prefix: &str, bytes: &[u8]| -> Vec<Tensor> {
            let tensors = File::parse(bytes).tensors.into_values();
            tensors.map(|t| Tensor { name: format!("{prefix}{}", t.name), ..t }).collect()
        };
        let main = part("model.diffusion_model.", &chroma_model());
        let text = part("text_encoders.t5xxl.transformer.", &t5_model());
        let folder = Folder::with("m.safetensors", &safetensors(&[main, text].concat()));
        let name = "text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.k.weight";
        assert_eq!(decided(&folder, name, &[]), "quantizefp8: linear weight");
        let legacy = decided(&folder, name, &["--layout", "comfy-legacy"]);
        assert_eq!(legacy, "copy: beside the main model, which alone `comfy-legacy` marks");
        folder.done(&["convert", "m.safetensors", "--layout", "comfy-legacy"]);
        let file = folder.file("m-fp8-legacy.safetensors");
        assert_eq!(file.get("model.diffusion_model.scaled_fp8").shape, [2]);
        folder.done(&["verify", "m.safetensors", "m-fp8-legacy.safetensors"]);
    }
}

/// Inputs that are in codes already.
mod again {
    use super::*;

    /// Writes `text` as the layer's INT8 values: the nearest whole numbers of steps.
    fn decoded_fp8(file: &File, layer: &str) -> Vec<f32> {
        let scale = file.f32(&format!("{layer}.weight_scale"))[0];
        let codes = &file.get(&format!("{layer}.weight")).bytes;
        codes.iter().map(|code| e4m3(*code) * scale).collect()
    }

    #[test]
    fn fp8_becomes_int8_by_its_own_scale() {
        let folder = plain();
        folder.done(&["convert", "m.safetensors"]);
        folder.done(&["convert", "m-fp8.safetensors", "--scheme", "int8", "-o", "i.safetensors"]);
        let [before, after] = ["m-fp8.safetensors", "i.safetensors"].map(|name| folder.file(name));
        for layer in ["blocks.0.ff.in", "blocks.0.ff.out"] {
            let values = decoded_fp8(&before, layer);
            let largest = values.iter().fold(0.0_f32, |max, value| max.max(value.abs()));
            let scale = after.f32(&format!("{layer}.weight_scale"))[0];
            assert_eq!(scale, largest / 127.0);
            let codes = &after.get(&format!("{layer}.weight")).bytes;
            for (value, code) in values.iter().zip(codes) {
                assert_eq!((value / scale).round_ties_even(), f32::from(*code as i8));
            }
        }
        folder.done(&["verify", "m-fp8.safetensors", "i.safetensors"]);
    }

    #[test]
    fn legacy_becomes_comfy_with_the_same_codes() {
        let folder = plain();
        folder.done(&["convert", "m.safetensors", "--layout", "comfy-legacy"]);
        folder.done(&["convert", "m-fp8-legacy.safetensors", "-o", "c.safetensors"]);
        let [before, after] = ["m-fp8-legacy.safetensors", "c.safetensors"].map(|n| folder.file(n));
        assert!(after.names().iter().all(|n| !n.contains("scaled_fp8") && !n.contains("scale_w")));
        for layer in ["blocks.0.ff.in", "blocks.0.ff.out"] {
            let weight = format!("{layer}.weight");
            assert_eq!(before.get(&weight).bytes, after.get(&weight).bytes);
            let [old, new] = [
                before.f32(&format!("{layer}.scale_weight")),
                after.f32(&format!("{layer}.weight_scale")),
            ];
            assert!((old[0] - new[0]).abs() <= 1e-6 * old[0], "{old:?} {new:?}");
        }
    }

    const FULL: &[u8] = br#"{"format": "float8_e4m3fn", "full_precision_matrix_mult": true}"#;

    /// Makes the first layer of a converted file ask for products in full precision.
    fn ask_for_full_precision(file: &mut File) {
        let marker = file.get_mut("blocks.0.ff.in.comfy_quant");
        marker.bytes = FULL.to_vec();
        marker.shape = vec![FULL.len()];
        let entry = file.metadata.get_mut("_quantization_metadata").unwrap();
        let plain = r#"{"format": "float8_e4m3fn"}"#;
        *entry = entry.replacen(plain, std::str::from_utf8(FULL).unwrap(), 1);
    }

    #[test]
    fn products_in_full_precision_stay_so() {
        let folder = plain();
        folder.done(&["convert", "m.safetensors"]);
        let mut file = folder.file("m-fp8.safetensors");
        ask_for_full_precision(&mut file);
        folder.write("full.safetensors", &file.bytes());
        folder.done(&["convert", "full.safetensors", "--scheme", "int8-row"]);
        folder.done(&["verify", "full.safetensors", "full-int8-row.safetensors"]);
        let mut after = folder.file("full-int8-row.safetensors");
        let full =
            r#"{"format": "int8_tensorwise", "full_precision_matrix_mult": true, "per_row": true}"#;
        assert_eq!(after.get("blocks.0.ff.in.comfy_quant").bytes, full.as_bytes());
        assert!(after.metadata["_quantization_metadata"].contains(full));
        let any = br#"{"format": "int8_tensorwise", "per_row": true}"#;
        assert_eq!(after.get("blocks.0.ff.out.comfy_quant").bytes, any);

        let marker = after.get_mut("blocks.0.ff.in.comfy_quant");
        (marker.bytes, marker.shape) = (any.to_vec(), vec![any.len()]);
        after.metadata.remove("_quantization_metadata");
        folder.write("lost.safetensors", &after.bytes());
        let run = folder.run(&["verify", "full.safetensors", "lost.safetensors"]);
        assert_eq!(run.code, 3);
        let words = "wrong: `blocks.0.ff.in` no longer asks for products in full precision";
        assert!(run.stdout.contains(words), "{}", run.stdout);
    }

    #[test]
    fn a_legacy_marker_of_two_elements_asks_for_full_precision_of_every_layer() {
        let folder = plain();
        folder.done(&["convert", "m.safetensors", "--layout", "comfy-legacy"]);
        let mut file = folder.file("m-fp8-legacy.safetensors");
        folder.done(&["convert", "m-fp8-legacy.safetensors", "-o", "full.safetensors"]);
        let marker = file.get_mut("scaled_fp8");
        (marker.bytes, marker.shape) = (vec![0], vec![1]);
        folder.write("one.safetensors", &file.bytes());
        folder.done(&["convert", "one.safetensors", "-o", "any.safetensors"]);
        let any = br#"{"format": "float8_e4m3fn"}"#;
        for layer in ["blocks.0.ff.in", "blocks.0.ff.out"] {
            let name = format!("{layer}.comfy_quant");
            assert_eq!(folder.file("full.safetensors").get(&name).bytes, FULL);
            assert_eq!(folder.file("any.safetensors").get(&name).bytes, any);
        }
    }

    /// Two shards of one tensor group each, with header entries of their own.
    fn shards(folder: &Folder, file: &File, metadata: [&[(&str, &str)]; 2]) {
        let mut map = vec![];
        for (number, entries) in metadata.into_iter().enumerate() {
            let layer = ["blocks.0.ff.in", "blocks.0.ff.out"][number];
            let is_here = |name: &&str| name.starts_with(layer);
            let names: Vec<&str> = file.names().into_iter().filter(is_here).collect();
            let tensors: Vec<Tensor> = names.iter().map(|name| file.get(name).clone()).collect();
            let shard = format!("{number}.safetensors");
            folder.write(&format!("big/{shard}"), &safetensors_with_metadata(&tensors, entries));
            map.extend(names.iter().map(|name| format!("\"{name}\":\"{shard}\"")));
        }
        let index = format!("{{\"weight_map\":{{{}}}}}", map.join(","));
        folder.write("big/model.safetensors.index.json", index.as_bytes());
    }

    /// What the header says of one layer in codes.
    fn entry_of(layer: &str, marker: &str) -> String {
        format!(r#"{{"format_version": "1.0", "layers": {{"{layer}": {marker}}}}}"#)
    }

    #[test]
    fn layers_of_every_shard_s_header_are_read() {
        let folder = plain();
        folder.done(&["convert", "m.safetensors", "--scheme", "int8-row"]);
        let mut file = folder.file("m-int8-row.safetensors");
        file.tensors.retain(|name, _| !name.ends_with("comfy_quant"));
        let marker = r#"{"format": "int8_tensorwise", "per_row": true}"#;
        let [one, two] = ["blocks.0.ff.in", "blocks.0.ff.out"].map(|layer| entry_of(layer, marker));
        let key = "_quantization_metadata";
        shards(&folder, &file, [&[(key, &one), ("a", "1")], &[(key, &two), ("a", "2")]]);
        let inspected = folder.json(&["inspect", "big", "--json"]);
        assert_eq!(inspected["quantized"][0]["layers"], 2, "{inspected}");
        assert_eq!(inspected["quantized"][0]["spelling"], "comfy_quant marker");
        assert_eq!(inspected["defects"].as_array().unwrap().len(), 0, "{inspected}");

        let note = "note: later shards have another value for header entry `a`; the first is kept";
        assert!(folder.done(&["plan", "big"]).contains(note));
        assert!(folder.done(&["convert", "big", "--scheme", "int8-row"]).contains(note));
        let after = folder.file("big-int8-row.safetensors");
        assert_eq!(after.metadata["a"], "1");
        let entry: Value = serde_json::from_str(&after.metadata[key]).unwrap();
        assert_eq!(entry["layers"].as_object().unwrap().len(), 2);
    }

    #[test]
    fn shards_that_mark_a_layer_differently_are_refused() {
        let folder = plain();
        folder.done(&["convert", "m.safetensors"]);
        let file = folder.file("m-fp8.safetensors");
        let formats = ["float8_e4m3fn", "float8_e5m2"]
            .map(|name| entry_of("blocks.0.ff.in", &format!(r#"{{"format": "{name}"}}"#)));
        let key = "_quantization_metadata";
        shards(&folder, &file, [&[(key, &formats[0])], &[(key, &formats[1])]]);
        let words = ["`blocks.0.ff.in` one shard's header says", "another's"];
        folder.refused(&["convert", "big"], 1, &words);
    }

    #[test]
    fn plain_fp8_codes_are_the_values() {
        let codes: Vec<u8> = (0..64 * 64).map(|i| (i % 120) as u8).collect();
        let weight = Tensor::new("a.weight", "F8_E4M3", &[64, 64], codes.clone());
        let folder = Folder::with("m.safetensors", &safetensors(&[weight]));
        folder.done(&["convert", "m.safetensors", "--scheme", "int8"]);
        let file = folder.file("m-int8.safetensors");
        let largest = codes.iter().map(|code| e4m3(*code)).fold(0.0, f32::max);
        assert_eq!(file.f32("a.weight_scale"), [largest / 127.0]);
    }

    #[test]
    fn a_kept_layer_is_decoded_to_bf16() {
        let folder = plain();
        folder.done(&["convert", "m.safetensors"]);
        let flags = ["--keep", r"ff\.in", "--scheme", "int8", "-o", "i.safetensors"];
        let text = folder.done(&[&["convert", "m-fp8.safetensors"], &flags[..]].concat());
        assert!(
            text.contains(r"decoded  kept by `ff\.in`; was fp8 (comfy_quant marker)"),
            "{text}"
        );
        let [before, after] = ["m-fp8.safetensors", "i.safetensors"].map(|name| folder.file(name));
        let values = decoded_fp8(&before, "blocks.0.ff.in");
        for (found, expected) in after.bf16("blocks.0.ff.in.weight").iter().zip(values) {
            assert!((found - expected).abs() <= expected.abs() / 256.0, "{found} {expected}");
        }
        assert!(!after.tensors.contains_key("blocks.0.ff.in.weight_scale"));
        folder.done(&["verify", "m-fp8.safetensors", "i.safetensors"]);
    }
}

mod answers {
    use super::*;

    /// Paths of all keys, lists as `[]`.
    fn keys(value: &Value, path: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(entries) => {
                for (key, value) in entries {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    found.insert(path.clone());
                    keys(value, &path, found);
                }
            }
            Value::Array(items) => {
                items.iter().for_each(|item| keys(item, &format!("{path}[]"), found));
            }
            _ => {}
        }
    }

    /// First column of a table of `docs/report.md`, from the heading on.
    fn documented(heading: &str) -> BTreeSet<String> {
        let text = include_str!("../../../docs/report.md");
        let lines = text.lines().skip_while(|line| *line != format!("## {heading}"));
        let section = lines.skip(1).take_while(|line| !line.starts_with("## "));
        section
            .filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned()))
            .collect()
    }

    #[track_caller]
    fn agree(heading: &str, answers: &[Value]) {
        let mut found = BTreeSet::new();
        answers.iter().for_each(|answer| keys(answer, "", &mut found));
        assert_eq!(found, documented(heading), "docs/report.md, {heading}");
    }

    #[test]
    fn every_key_of_the_report_is_documented() {
        let folder = plain();
        let recipe = "scheme = 'fp8'\nlayout = 'comfy'\nmethod = 'nearest'\n\
            scale_rule = 'absmax'\npreset = 'chroma'\nkeep_distillation = true\n\
            ignore_base_list = true\nkeep = ['txt']\ninclude = ['final']\nmin_size = 10\n\
            heuristic = 'basic'\nprovenance = true\nrules = [{ pattern = 'qkv', scheme = 'int8' }]\n\
            model = 'Chroma'\nfallback_scheme = 'int8'\nfull_precision = ['qkv']\n\
            merge_lora = ['l.safetensors:0.5']\nallow_unmatched_lora = false\n";
        let name = |part: &str| format!("double_blocks.0.img_attn.qkv.lora_{part}.weight");
        let lora = [
            Tensor::f32(&name("up"), &gaussian(96, 2, 1)),
            Tensor::f32(&name("down"), &gaussian(2, 32, 2)),
        ];
        folder.write("l.safetensors", &safetensors(&lora));
        folder.write("chroma.safetensors", &chroma_model());
        folder.write("r.toml", recipe.as_bytes());
        let arguments = ["convert", "chroma.safetensors", "--recipe", "r.toml"];
        folder.done(&[&arguments[..], &["--report", "r.json", "-q"]].concat());
        let report: Value = serde_json::from_slice(&folder.read("r.json")).unwrap();
        assert_eq!(report["report_version"], 1);
        let input = folder.read("chroma.safetensors");
        assert_eq!(report["input_bytes"], input.len());
        assert_eq!(report["input_hashes"][0]["file"], "chroma.safetensors");
        assert_eq!(report["input_hashes"][0]["blake3"].as_str().unwrap().len(), 64);
        let output = folder.read("chroma-fp8.safetensors");
        assert_eq!(report["output_bytes"], output.len());
        folder.write("m.safetensors", &plain().read("m.safetensors"));
        let learned = ["m.safetensors", "--method", "principal", "--top-k", "4", "--json"];
        let learned = folder.json(&[&["convert"], &learned[..]].concat());
        agree("Report", &[report, learned]);
    }

    #[test]
    fn every_key_of_the_plan_is_documented() {
        agree("Plan", &[plain().json(&["plan", "m.safetensors", "--json"])]);
    }

    #[test]
    fn every_key_of_inspect_and_verify_is_documented() {
        let folder = plain();
        folder.done(&["convert", "m.safetensors", "-q"]);
        let mut file = folder.file("m-fp8.safetensors");
        file.tensors.insert(
            "conv.weight_scale".into(),
            Tensor::new("conv.weight_scale", "F32", &[1], vec![0; 4]),
        );
        folder.write("bad.safetensors", &file.bytes());
        let mut inspected = folder.json(&["inspect", "bad.safetensors", "--json"]);
        assert_eq!(inspected["metadata"]["format"], "pt");
        inspected["metadata"] = Value::Null; // its keys are the file's
        agree("Inspect", &[inspected]);
        let run = folder.run(&["verify", "m.safetensors", "bad.safetensors", "--json"]);
        agree("Verify", &[serde_json::from_str(&run.stdout).unwrap()]);
    }

    #[test]
    fn every_key_of_presets_is_documented() {
        agree("Presets", &[Folder::new().json(&["presets", "--json"])]);
    }

    #[test]
    fn presets_tell_what_they_are_for_and_how_models_are_recognised() {
        let text = Folder::new().done(&["presets"]);
        for lines in [
            "base: every model\n  every model, on top of its own preset\n",
            "flux2: FLUX.2\n  FLUX.2 by double_blocks.0.img_attn.norm.key_norm.scale | ",
            " and double_stream_modulation_img.lin.weight\n",
            "chroma, distillation_large, keep_distillation: Chroma\n",
            "distillation_small: Chroma, guidance network only\n  on request only\n",
            "not converted: ",
        ] {
            assert!(text.contains(lines), "`{lines}` is not in: {text}");
        }
        // What is listed can be asked for.
        let folder = plain();
        for preset in folder.json(&["presets", "--json"]).as_array().unwrap() {
            let name = preset["name"].as_str().unwrap();
            let run = folder.run(&["plan", "m.safetensors", "--preset", name]);
            let expected = if preset["refuses"].is_null() { 0 } else { 1 };
            assert_eq!(run.code, expected, "{name}: {}", run.stderr);
        }
    }

    #[test]
    fn every_key_of_schemes_is_documented() {
        agree("Schemes", &[Folder::new().json(&["schemes", "--json"])]);
    }

    #[test]
    fn plan_writes_nothing_and_tells_the_size() {
        let folder = plain();
        let before = folder.snapshot();
        let text = folder.done(&["plan", "m.safetensors"]);
        let plan = folder.json(&["plan", "m.safetensors", "--json"]);
        assert_eq!(folder.done(&["plan", "m.safetensors", "--quiet"]), "");
        assert!(before == folder.snapshot());
        assert!(
            text.contains("blocks.0.ff.in.weight   [256, 128]    BF16   fp8      linear weight\n")
        );
        folder.done(&["convert", "m.safetensors", "-q"]);
        assert_eq!(plan["output_bytes"], folder.read("m-fp8.safetensors").len());
    }

    #[test]
    fn inspect_tells_the_command_that_makes_the_file_again() {
        let folder = plain();
        let flags = ["--scheme", "int8-row", "--keep", r"it's$|ff\.out", "--rule", r"\.in=fp8-row"];
        let flags =
            [&flags[..], &["--method", "principal", "--top-p", "0.5", "--min-k", "1"]].concat();
        folder.done(
            &[&["convert", "m.safetensors", "-q", "-o", "a.safetensors"], &flags[..]].concat(),
        );
        let made = &folder.json(&["inspect", "a.safetensors", "--json"])["provenance"];
        let command = made["command"].as_str().unwrap();
        assert!(folder.done(&["inspect", "a.safetensors"]).contains(command), "{command}");
        let script = command.replacen("roundwise", "\"$0\"", 1).replacen("INPUT", "\"$1\"", 1);
        let mut shell = Command::new("sh");
        let shell = shell.arg("-c").arg(script + " -q -o b.safetensors").arg(tool::binary());
        let run = Run::of(shell.arg("m.safetensors").current_dir(folder.root()).output().unwrap());
        run.must_say(0, &[]);
        assert!(folder.read("a.safetensors") == folder.read("b.safetensors"), "{command}");
        folder.done(&["convert", "m.safetensors", "-q", "--no-provenance"]);
        let silent = folder.json(&["inspect", "m-fp8.safetensors", "--json"]);
        assert!(silent["provenance"].is_null(), "{silent}");
    }

    #[test]
    fn inspect_tells_who_opens_the_file() {
        let folder = plain();
        folder.done(&["convert", "m.safetensors", "-q", "--scheme", "fp8-row"]);
        let text = folder.done(&["inspect", "m-fp8-row.safetensors"]);
        for line in
            ["opened by: ComfyUI with the custom node ComfyUI-QuantOps", "header `format`: pt"]
        {
            assert!(text.contains(line), "{text}");
        }
        assert!(folder.done(&["inspect", "m.safetensors"]).contains("original weights"));
    }

    #[test]
    fn schemes_and_completions_need_no_file() {
        let folder = Folder::new();
        let schemes = folder.done(&["schemes"]);
        for name in folder.json(&["schemes", "--json"]).as_array().unwrap() {
            let name = name["name"].as_str().unwrap();
            assert!(schemes.lines().any(|line| line.trim().starts_with(name)), "{name}: {schemes}");
        }
        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            let script = folder.done(&["completions", shell]);
            for word in ["roundwise", "convert", "scale-rule"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
        assert!(folder.done(&["--help"]).contains("Exit codes: 0 done, 1 failed, 2 bad usage"));
        folder.run(&[]).must_say(2, &["Usage:"]);
        assert_eq!(folder.names(), [""; 0]);
    }
}

mod verify {
    use super::*;

    /// Damages a converted file; the folder also holds its original.
    #[track_caller]
    fn finds(flags: &[&str], damage: impl FnOnce(&mut File), words: &[&str]) {
        let folder = plain();
        let arguments = [&["convert", "m.safetensors", "-o", "c.safetensors"], flags].concat();
        folder.done(&arguments);
        let mut file = folder.file("c.safetensors");
        damage(&mut file);
        folder.write("c.safetensors", &file.bytes());
        let run = folder.run(&["verify", "m.safetensors", "c.safetensors"]);
        assert_eq!(run.code, 3, "{}{}", run.stdout, run.stderr);
        for word in words {
            assert!(run.stdout.contains(word), "`{word}` is not in: {}", run.stdout);
        }
        assert!(run.stdout.contains("verification failed"));
    }

    #[test]
    fn quiet_leaves_the_exit_code() {
        let folder = plain();
        folder.write("n.safetensors", &chroma_model());
        folder.done(&["convert", "m.safetensors", "-q"]);
        let right = folder.run(&["verify", "m.safetensors", "m-fp8.safetensors", "-q"]);
        let wrong = folder.run(&["verify", "n.safetensors", "m-fp8.safetensors", "-q"]);
        assert_eq!((right.code, wrong.code), (0, 3));
        assert_eq!(right.stdout + &right.stderr + &wrong.stdout + &wrong.stderr, "");
    }

    const WEIGHT: &str = "blocks.0.ff.in.weight";
    const SCALE: &str = "blocks.0.ff.in.weight_scale";
    const MARKER: &str = "blocks.0.ff.in.comfy_quant";

    #[test]
    fn a_code_that_is_not_a_number() {
        let words = ["wrong: `blocks.0.ff.in.weight` row 1 holds a code that stands for no number"];
        finds(&[], |file| file.get_mut(WEIGHT).bytes[130] = 0x7F, &words);
        finds(&["--scheme", "int8"], |file| file.get_mut(WEIGHT).bytes[130] = 0x80, &words);
    }

    #[test]
    fn a_code_far_from_its_weight() {
        let words = [WEIGHT, "steps of the largest ones off"];
        finds(&[], |file| file.get_mut(WEIGHT).bytes[130] ^= 0x80, &words);
    }

    #[test]
    fn a_copied_tensor_that_changed() {
        let words = ["wrong: `blocks.0.norm.weight` bytes differ from the original"];
        finds(&[], |file| file.get_mut("blocks.0.norm.weight").bytes[0] ^= 1, &words);
    }

    #[test]
    fn a_missing_tensor() {
        let words = ["wrong: `blocks.0.norm.weight` is missing"];
        finds(&[], |file| drop(file.tensors.remove("blocks.0.norm.weight")), &words);
        finds(
            &[],
            |file| drop(file.tensors.remove(WEIGHT)),
            &["`blocks.0.ff.in.weight` is missing"],
        );
    }

    #[test]
    fn a_tensor_too_many() {
        let extra = || Tensor::new("extra", "U8", &[1], vec![0]);
        let words = ["wrong: `extra` is not in the original"];
        finds(&[], |file| drop(file.tensors.insert("extra".into(), extra())), &words);
    }

    #[test]
    fn a_marker_that_is_missing() {
        let words = ["`blocks.0.ff.in` has an entry in `_quantization_metadata`, but no marker"];
        finds(&[], |file| drop(file.tensors.remove(MARKER)), &words);
        // Gone from the header as well: a scale that ComfyUI ignores.
        let words = ["wrong: `blocks.0.ff.in`", "weight_scale`", "no marker"];
        let damage = |file: &mut File| {
            file.tensors.remove(MARKER);
            file.metadata.remove("_quantization_metadata");
        };
        finds(&[], damage, &words);
        finds(
            &["--layout", "comfy-legacy"],
            |file| drop(file.tensors.remove("scaled_fp8")),
            &["wrong: `blocks.0.ff.in`", "scale_weight`", "no `scaled_fp8`"],
        );
    }

    #[test]
    fn a_marker_that_nobody_understands() {
        let damage = |file: &mut File| {
            file.metadata.remove("_quantization_metadata");
            let marker = file.get_mut(MARKER);
            marker.bytes = b"{\"format\": \"fp7\"}".to_vec();
            marker.shape = vec![marker.bytes.len()];
        };
        finds(&[], damage, &["wrong: `blocks.0.ff.in` format `fp7` is not known"]);
    }

    #[test]
    fn an_orphaned_scale() {
        let scale = || Tensor::new("conv.weight_scale", "F32", &[1], vec![0; 4]);
        let words = ["wrong: `conv`", "`conv.weight_scale`"];
        finds(&[], |file| drop(file.tensors.insert("conv.weight_scale".into(), scale())), &words);
    }

    #[test]
    fn a_scale_of_another_shape() {
        let words = ["`blocks.0.ff.in.weight_scale` has shape [256], `int8-row` needs [256, 1]"];
        finds(&["--scheme", "int8-row"], |file| file.get_mut(SCALE).shape = vec![256], &words);
        let words = ["`blocks.0.ff.in.weight_scale` has shape [2], `fp8` needs one element"];
        let twice = |file: &mut File| {
            let scale = file.get_mut(SCALE);
            scale.bytes = scale.bytes.repeat(2);
            scale.shape = vec![2];
        };
        finds(&[], twice, &words);
    }

    #[test]
    fn a_missing_scale() {
        let damage = |file: &mut File| drop(file.tensors.remove(SCALE));
        finds(&[], damage, &["wrong: `blocks.0.ff.in`", "has no `weight_scale`"]);
    }

    #[test]
    fn a_scale_of_another_size() {
        for (factor, word) in
            [(0.001, "its largest weight is"), (4.0, "steps of the largest ones off")]
        {
            let damage = |file: &mut File| {
                let scale = file.f32(SCALE)[0] * factor;
                file.get_mut(SCALE).bytes = scale.to_le_bytes().to_vec();
            };
            finds(&[], damage, &[WEIGHT, word]);
        }
        for value in [f32::NAN, 0.0, -1.0] {
            let damage = |file: &mut File| {
                file.get_mut(SCALE).bytes = value.to_le_bytes().to_vec();
            };
            finds(&[], damage, &[WEIGHT, "a scale is not a positive number"]);
        }
    }

    #[test]
    fn lost_header_entries() {
        let words = ["wrong: the file header entry `author` is missing or changed"];
        finds(&[], |file| drop(file.metadata.remove("author")), &words);
        let damage = |file: &mut File| drop(file.metadata.insert("format".into(), "np".into()));
        finds(&[], damage, &["header entry `format` is missing or changed"]);
    }

    #[test]
    fn another_model() {
        let folder = plain();
        folder.write("t5.safetensors", &t5_model());
        folder.done(&["convert", "t5.safetensors", "-q"]);
        let run = folder.run(&["verify", "m.safetensors", "t5-fp8.safetensors"]);
        assert_eq!(run.code, 3);
        assert!(run.stdout.contains("is recognised as T5"), "{}", run.stdout);
        assert!(run.stdout.contains(&format!("wrong: `{WEIGHT}` is missing")), "{}", run.stdout);
    }

    #[test]
    fn many_findings_are_cut_short_in_the_order_of_names() {
        let tensors: Vec<Tensor> =
            (10..42).map(|n| matrix(&format!("b.{n}.weight"), 8, 8)).collect();
        let folder = Folder::with("m.safetensors", &safetensors(&tensors));
        folder.done(&["convert", "m.safetensors", "--keep", "[1-3].$", "-q"]);
        let mut file = folder.file("m-fp8.safetensors");
        file.tensors.retain(|name, _| !name.starts_with("b.1") && !name.starts_with("b.2"));
        file.metadata.insert("_quantization_metadata".into(), "nonsense".into());
        for n in 10..42 {
            file.tensors.remove(&format!("b.{n}.weight"));
        }
        folder.write("c.safetensors", &file.bytes());
        let run = folder.run(&["verify", "m.safetensors", "c.safetensors"]);
        assert_eq!(run.code, 3);
        let wrong: Vec<&str> =
            run.stdout.lines().filter(|line| line.starts_with("wrong: ")).collect();
        assert_eq!(wrong.len(), 20, "{}", run.stdout);
        assert!(wrong[0].starts_with("wrong: the file "), "{}", run.stdout);
        assert!(wrong[1..].is_sorted(), "{}", run.stdout);
        let json = folder.run(&["verify", "m.safetensors", "c.safetensors", "--json"]).stdout;
        let json: Value = serde_json::from_str(&json).unwrap();
        let more = json["defects"].as_array().unwrap().len() - 20;
        let more = format!("… and {more} more (`--json` lists all)\nverification failed\n");
        assert!(run.stdout.ends_with(&more), "{}", run.stdout);
    }

    #[test]
    fn a_broken_file_is_a_failure_and_not_a_finding() {
        let folder = plain();
        folder.write("c.safetensors", b"");
        let words = ["c.safetensors", "the file is 0 bytes"];
        folder.refused(&["verify", "m.safetensors", "c.safetensors"], 1, &words);
    }
}

/// Ctrl-C in the middle of the work.
mod stop {
    use super::*;

    /// Slow to convert with searched scales, quick to make.
    fn slow_model() -> Vec<u8> {
        let matrix = gaussian(256, 1024, 1);
        let tensors: Vec<Tensor> =
            (0..32).map(|i| Tensor::bf16(&format!("blocks.{i}.ff.weight"), &matrix)).collect();
        safetensors(&tensors)
    }

    #[test]
    fn ctrl_c_keeps_what_is_finished() {
        let whole = Folder::with("m.safetensors", &slow_model());
        whole.done(&["convert", "m.safetensors", "--scale-rule", "mse"]);
        let whole = whole.read("m-fp8.safetensors");
        // Once for an orderly end; twice, as people do, for an end at once.
        for (signal, times) in [("INT", 1), ("TERM", 1), ("INT", 2)] {
            let folder = Folder::with("m.safetensors", &slow_model());
            folder.write("m-fp8.safetensors", b"mine");
            let arguments = ["convert", "m.safetensors", "--force", "--scale-rule", "mse"];
            let mut tool = Command::new(tool::binary());
            tool.args(arguments).args(["--threads", "1"]).current_dir(folder.root());
            let child = tool.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            wait_for_a_record(&folder);
            let id = child.id().to_string();
            for _ in 0..times {
                let kill = Command::new("kill").args(["-s", signal, &id]).status();
                assert!(kill.unwrap().success());
            }
            let run = Run::of(child.wait_with_output().unwrap());
            let words: &[&str] = match times {
                1 => &["of 32 tensors are finished, in ", "the same command continues; with `--fr"],
                _ => &["error: stopped"],
            };
            run.must_say(130, words);
            assert_eq!(run.stdout, "");
            assert_eq!(folder.read("m-fp8.safetensors"), b"mine");
            let run = folder.run(&arguments);
            run.must_say(0, &["note: continuing an earlier run, which had finished"]);
            assert!(folder.read("m-fp8.safetensors") == whole, "{signal} × {times}");
            assert_eq!(folder.names(), ["m-fp8.safetensors", "m.safetensors"]);
        }
    }

    #[test]
    fn the_work_of_another_command_is_given_up_only_when_told_to() {
        let folder = Folder::with("m.safetensors", &slow_model());
        let arguments = ["convert", "m.safetensors", "--scale-rule", "mse", "--threads", "1"];
        let mut tool = Command::new(tool::binary());
        let tool = tool.args(arguments).current_dir(folder.root());
        let mut child = tool.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_for_a_record(&folder);
        child.kill().unwrap();
        child.wait().unwrap();
        let words = ["m-fp8.safetensors.partial: is the unfinished output of another run"];
        let words = [&words[..], &["the recipe differs in `scale_rule`", "--fresh"]].concat();
        folder.refused(&["convert", "m.safetensors"], 1, &words);
        folder.done(&["convert", "m.safetensors", "--fresh"]);
        assert_eq!(folder.names(), ["m-fp8.safetensors", "m.safetensors"]);
        folder.done(&["verify", "m.safetensors", "m-fp8.safetensors"]);
    }

    #[test]
    fn a_comparison_can_be_stopped() {
        use std::os::unix::process::ExitStatusExt;
        let folder = Folder::with("m.safetensors", &slow_model());
        folder.done(&["convert", "m.safetensors"]);
        let mut tool = Command::new(tool::binary());
        tool.args(["verify", "m.safetensors", "m-fp8.safetensors", "--threads", "1"]);
        let tool = tool.current_dir(folder.root()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = tool.spawn().unwrap();
        // Sooner or later one falls into the work; before that it ends the program as well.
        let id = child.id().to_string();
        while child.try_wait().unwrap().is_none() {
            let _ = Command::new("kill").args(["-s", "INT", &id]).stderr(Stdio::null()).status();
            std::thread::sleep(Duration::from_millis(2));
        }
        const INTERRUPT: i32 = 2;
        let status = child.wait().unwrap();
        assert!(status.code() == Some(130) || status.signal() == Some(INTERRUPT), "{status}");
    }

    /// Waits until the journal has more than its first line.
    fn wait_for_a_record(folder: &Folder) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let journal = folder.path(".m-fp8.safetensors.journal");
        while std::fs::read(&journal).map_or(0, |text| text.split(|&b| b == b'\n').count()) < 3 {
            assert!(Instant::now() < deadline, "the tool never finished a tensor");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
