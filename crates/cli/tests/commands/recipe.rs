//! Flags and recipes shape the plan; those that make no sense are refused.

use roundwise_testkit::files::{Tensor, safetensors};

use crate::tool::{Folder, PLAIN_WEIGHTS, chroma_model, matrix, t5_model};
use crate::{decided, plain};

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

#[test]
fn names_that_are_the_models_own_are_not_asked_about_in_silence() {
    let folder = Folder::with("m.safetensors", &chroma_model());
    let own = "`--names` changes nothing: the names are the model's own".to_owned();
    for names in ["keep", "translate"] {
        let told = notes(&folder, &["--names", names]);
        assert!(told.contains(&own), "{names}: {told:?}");
    }
    assert!(!notes(&folder, &[]).contains(&own));
}

/// Notes of a plan under these flags.
#[track_caller]
fn notes(folder: &Folder, flags: &[&str]) -> Vec<String> {
    let arguments = [&["plan", "m.safetensors"], flags].concat();
    let text = folder.done(&arguments);
    let plan = folder.json(&[&arguments[..], &["--json"]].concat());
    let notes: Vec<String> = serde_json::from_value(plan["notes"].clone()).unwrap();
    let printed = text.lines().filter_map(|line| line.strip_prefix("note: "));
    let printed: Vec<String> = printed.map(str::to_owned).collect();
    // Programs are told settings by the keys of a recipe.
    assert_eq!(printed.len(), notes.len(), "{text}");
    assert!(notes.iter().all(|note| !note.contains("--")), "{notes:?}");
    printed
}

#[test]
fn what_changes_nothing_is_noted() {
    let folder = plain();
    for (flags, expected) in [
        (&[][..], &[][..]),
        // Kept anyway; and the second pattern is covered by the first.
        (&["--keep", "conv"], &["--keep `conv` changes nothing: what it matches is kept anyway"]),
        (
            &["--keep", r"ff\.in", "--keep", r"\.in"],
            &[r"--keep `\.in` changes nothing: what it matches is kept anyway"],
        ),
        (
            &["--include", "ff"],
            &["--include `ff` changes nothing: what it matches is converted anyway"],
        ),
        (&["--include", "ff", "--heuristic", "classic"], &["`--heuristic` changes nothing"]),
        (&["--include", "in", "--heuristic", "classic"], &[]),
        (&["--rule", "ff=fp8"], &["--rule `ff` changes nothing: an earlier rule decides, the"]),
        (
            &["--rule", "ff=int8", "--rule", "in=fp8-row"],
            &["--rule `in` changes nothing: an earlier rule decides, the"],
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
    assert!(converted.contains("  note: --keep `conv` changes nothing: what it matches is kept"));
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
        (&["--keep", "qkv"][..], "--keep `qkv` matches no tensor of this file"),
        (&["--include", "conv"], "--include `conv` matches no weight of this file that can be"),
        (&["--rule", "norm=int8"], "--rule `norm` matches no weight of this file that can be"),
        (&["--keep-distillation"], "`--keep-distillation` applies to no weight"),
        (
            &["--keep", "in", "--include", "ff"],
            "--keep `in` and --include `ff` contradict each other: `blocks.0.ff.in`",
        ),
        (
            &["--keep", "in", "--rule", "ff=int8"],
            "--keep `in` and --rule `ff` contradict each other",
        ),
        (&["--rule", "a=b=int8"], "--rule `a=b` matches no weight"),
        (&["--rule", "int8"], "expected REGEX=SCHEME"),
        (&["--rule", "=int8"], "expected REGEX=SCHEME"),
        (&["--scheme", "int8", "--layout", "comfy-legacy"], "`comfy-legacy` cannot store"),
        (&["--rounding", "up"], "--method: `up` is not known\n  known: nearest"),
        (
            &["--method", "adaround", "--top-p", "0.1"],
            "--top-p: does not apply to method `adaround`",
        ),
        (&["--effort", "high"], "--effort: does not apply to method `nearest`"),
        (
            &["--method", "principal", "--lambda", "1", "--weight-error-budget", "0.1"],
            "--lambda: does not go together with `--weight-error-budget`",
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
    folder.refused(
        &flags,
        2,
        &["method_options.top_p: does not apply", "--lambda: 0 is out of range, expected"],
    );
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
    assert_eq!(report["recipe"]["scheme"], "int8");
    assert_eq!(report["recipe"]["min_size"], 0);
    assert_eq!(report["recipe"]["rules"].as_array().unwrap().len(), 2);
    assert_eq!(report["output"], "m-int8.safetensors");
}

/// Hundreds of layers must not hide what is wrong.
#[test]
fn contradictions_are_told_once_for_all_layers() {
    let weights: Vec<Tensor> =
        (0..40).map(|block| matrix(&format!("blocks.{block:02}.ff.weight"), 32, 32)).collect();
    let folder = Folder::with("m.safetensors", &safetensors(&weights));
    let flags = ["convert", "m.safetensors", "--keep", "ff", "--rule", "blocks=int8"];
    let run = folder.refused(
        &flags,
        2,
        &["--keep `ff` and --rule `blocks` contradict each other in 40 layers: `blocks.00.ff`, "],
    );
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    folder
        .write("r.toml", b"keep = ['x', 'ff']\nrules = [{ pattern = 'blocks', scheme = 'int8' }]");
    let words = ["keep[1] `ff` and rules[0] `blocks` contradict", "keep[0] `x` matches no tensor"];
    folder.refused(&["convert", "m.safetensors", "--recipe", "r.toml"], 2, &words);
}
