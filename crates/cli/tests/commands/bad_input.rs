//! Bad input gets one clear error or a kept tensor with its reason, its exit code, and leaves
//! every file as it was.

use std::process::Command;

use crate::plain;
use crate::tool::{File, Folder, Run, matrix, plain_model};
use roundwise_testkit::files::{Tensor, safetensors};

/// A file of `fixtures/broken`.
fn broken(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/broken/");
    std::fs::read(format!("{folder}{name}")).unwrap()
}

/// Every command that opens a weight file refuses this one with exit code 1 and all the words.
#[track_caller]
fn is_refused(bytes: &[u8], words: &[&str]) {
    let folder = Folder::with("m.safetensors", bytes);
    let words = [&["m.safetensors"], words].concat();
    for command in ["convert", "plan", "inspect"] {
        folder.refused(&[command, "m.safetensors"], 1, &words);
    }
}

/// Converts the file, and gives what the report says of `tensor` and the file that came out.
fn converted(bytes: &[u8], tensor: &str) -> (serde_json::Value, File) {
    let folder = Folder::with("m.safetensors", bytes);
    let report = folder.json(&["convert", "m.safetensors", "--json"]);
    assert_eq!(folder.names(), ["m-fp8.safetensors", "m.safetensors"]);
    assert_eq!(folder.read("m.safetensors"), bytes, "the input was touched");
    let mut layers = report["tensors"].as_array().unwrap().iter();
    let layer = layers.find(|layer| layer["name"] == tensor).unwrap().clone();
    (layer, folder.file("m-fp8.safetensors"))
}

#[test]
fn a_truncated_file() {
    let whole = plain_model();
    let words = ["tensor `", "data ends at", "the file holds", "cut short"];
    is_refused(&whole[..whole.len() - 100], &words);
}

#[test]
fn a_file_truncated_within_its_header() {
    is_refused(&plain_model()[..100], &["the header claims", "the file has 92 after its start"]);
}

/// Their length is the whole one from the beginning, and what is missing would count as zeros.
#[test]
fn files_in_the_middle_of_being_written() {
    let folder = Folder::with("m.safetensors", &plain_model());
    let refused = |name: &str, control: &str| {
        let words = [name, "is not finished", control, "let the program that writes it end"];
        for command in ["convert", "plan", "inspect", "repair"] {
            folder.refused(&[command, name], 1, &words);
        }
        folder.refused(&["verify", "whole.safetensors", name], 1, &words);
        folder.refused(&["convert", "whole.safetensors", "--merge-lora", name], 1, &words);
    };
    folder.write("whole.safetensors", &plain_model());
    folder.write("m.safetensors.aria2", b"control");
    refused("m.safetensors", "`m.safetensors.aria2`");
    folder.write(".n.safetensors.partial", &plain_model());
    folder.write(".n.safetensors.journal", b"{}");
    refused(".n.safetensors.partial", "`.n.safetensors.journal`");
    // Statistics, too, before anything else is looked at.
    let words = ["m.safetensors", "is not finished", "`m.safetensors.aria2`"];
    folder.refused(&["convert", "whole.safetensors", "--stats", "m.safetensors"], 1, &words);
    folder.refused(&["stats", "show", "m.safetensors"], 1, &words);
}

/// The control file lies beside the file itself.
#[cfg(unix)]
#[test]
fn links_to_files_in_the_middle_of_being_written() {
    let folder = Folder::with("m.safetensors", &plain_model());
    folder.write("models/m.safetensors", &plain_model());
    folder.write("models/m.safetensors.aria2", b"control");
    let link = folder.path("link.safetensors");
    std::os::unix::fs::symlink("models/m.safetensors", link).unwrap();
    let words = ["models/m.safetensors", "is not finished", "`m.safetensors.aria2`"];
    folder.refused(&["convert", "link.safetensors"], 1, &words);
    folder.refused(&["inspect", "link.safetensors"], 1, &words);
}

#[test]
fn files_that_are_called_as_downloads_that_have_not_ended() {
    let folder = Folder::with("m.safetensors", &plain_model());
    for ending in [".crdownload", ".part", ".incomplete", ".download", ".opdownload"] {
        let name = format!("m.safetensors{ending}");
        folder.write(&name, &plain_model());
        let named = format!("`{ending}`");
        let words = [&name, "has not ended", &named, "where the file is whole, rename it"];
        folder.refused(&["convert", &name], 1, &words);
        folder.refused(&["convert", "m.safetensors", "--merge-lora", &name], 1, &words);
        folder.refused(&["convert", "m.safetensors", "--stats", &name], 1, &words);
    }
}

#[test]
fn an_empty_file() {
    is_refused(&[], &["the file is 0 bytes", "at least 8"]);
}

#[test]
fn a_header_of_2_to_the_63_bytes() {
    let words = ["the header claims 9223372036854775808 bytes", "the limit is"];
    is_refused(&broken("header-length-2-63.safetensors"), &words);
}

#[test]
fn a_text_that_is_no_weight_file() {
    let text = "A long text about something else entirely.\n".repeat(1000);
    is_refused(text.as_bytes(), &["is a text file, not safetensors", "name the weight file"]);
    is_refused(&broken("header-length-2-63.safetensors"), &["no safetensors file has such"]);
}

#[test]
fn json_that_nests_without_end() {
    is_refused(&broken("deep-nesting.safetensors"), &["the header is not the JSON"]);
    // Inside a marker, too, which is JSON of its own.
    let nested = "[".repeat(60_000);
    let marker = Tensor::new("a.comfy_quant", "U8", &[nested.len()], nested.into_bytes());
    let weight = Tensor::new("a.weight", "F8_E4M3", &[2, 2], vec![0; 4]);
    is_converted_never(&safetensors(&[marker, weight]), &["`a`", "is not JSON"]);
}

#[test]
fn a_tensor_of_nans_is_kept_with_its_reason() {
    let nans = [0xC0, 0x7F].repeat(64 * 64);
    let tensors = [
        Tensor::new("blocks.0.bad.weight", "BF16", &[64, 64], nans.clone()),
        matrix("blocks.0.good.weight", 64, 64),
    ];
    let (layer, file) = converted(&safetensors(&tensors), "blocks.0.bad.weight");
    assert_eq!(layer["decision"], "copy");
    assert_eq!(layer["reason"], "row 0 holds a NaN or an infinity");
    assert_eq!(file.dtype("blocks.0.bad.weight"), "BF16");
    assert_eq!(file.get("blocks.0.bad.weight").bytes, nans);
    assert_eq!(file.dtype("blocks.0.good.weight"), "F8_E4M3");
    assert!(!file.tensors.contains_key("blocks.0.bad.comfy_quant"));
}

#[test]
fn one_infinity_keeps_its_tensor() {
    let bytes = broken("infinite-tensor.safetensors");
    let (layer, file) = converted(&bytes, "blocks.0.ff.in.weight");
    assert_eq!(layer["reason"], "row 3 holds a NaN or an infinity");
    let before = File::parse(&bytes);
    let name = "blocks.0.ff.in.weight";
    assert_eq!(file.get(name).bytes, before.get(name).bytes);
    assert_eq!(file.dtype("blocks.0.ff.out.weight"), "F8_E4M3");
}

#[test]
fn an_all_zero_tensor_decodes_to_zeros() {
    let (layer, file) = converted(&broken("all-zero.safetensors"), "blocks.0.ff.in.weight");
    assert_eq!(layer["decision"], "quantize");
    assert_eq!(layer["weight_error"], 0.0);
    assert!(file.get("blocks.0.ff.in.weight").bytes.iter().all(|code| *code == 0));
    assert_eq!(file.f32("blocks.0.ff.in.weight_scale"), [1.0]);
}

#[test]
fn a_tensor_without_elements_is_kept() {
    let bytes = safetensors(&[
        Tensor::new("blocks.0.none.weight", "BF16", &[0, 64], vec![]),
        matrix("blocks.0.good.weight", 64, 64),
    ]);
    let (layer, file) = converted(&bytes, "blocks.0.none.weight");
    assert_eq!(layer["reason"], "no elements");
    assert_eq!(file.get("blocks.0.none.weight").shape, [0, 64]);
    assert_eq!(file.dtype("blocks.0.none.weight"), "BF16");
}

#[test]
fn an_unknown_dtype() {
    let words = ["tensor `a.weight`", "unknown dtype `F5_E9`"];
    is_refused(&broken("unknown-dtype.safetensors"), &words);
}

#[test]
fn a_missing_shard() {
    let folder = Folder::new();
    for name in ["model-00001-of-00002.safetensors", "model.safetensors.index.json"] {
        folder.write(&format!("shards/{name}"), &broken(&format!("missing-shard/{name}")));
    }
    let words = ["model.safetensors.index.json", "`model-00002-of-00002.safetensors` is missing"];
    folder.refused(&["convert", "shards"], 1, &words);
    folder.refused(&["convert", "shards/model.safetensors.index.json"], 1, &words);
}

/// File systems may promise less than they have; a limit on the size of files always holds.
#[test]
fn no_room_for_the_output() {
    let folder = Folder::with("m.safetensors", &plain_model());
    let before = folder.snapshot();
    let script = r#"trap '' XFSZ; ulimit -f 8; exec "$0" convert m.safetensors"#;
    let mut shell = Command::new("sh");
    let shell = shell.args(["-c", script]).arg(crate::tool::binary()).current_dir(folder.root());
    let run = Run::of(shell.output().unwrap());
    run.must_say(1, &["m-fp8.safetensors", "cannot reserve space"]);
    assert!(before == folder.snapshot(), "left behind: {:?}", folder.names());
}

/// A disk of 32 KiB, in a mount namespace that ends with the shell.
#[test]
fn a_full_disk() {
    let folder = Folder::with("m.safetensors", &plain_model());
    folder.write("disk/here", b"");
    let script = r#"mount -t tmpfs -o size=32k tmpfs disk || exit 77
        "$0" convert m.safetensors --out-dir disk; code=$?; ls -A disk; exit $code"#;
    let mut unshare = Command::new("unshare");
    let unshare = unshare.args(["--map-root-user", "--mount", "sh", "-c", script]);
    let run = match unshare.arg(crate::tool::binary()).current_dir(folder.root()).output() {
        Ok(output) if output.status.code() != Some(77) && !is_forbidden(&output) => Run::of(output),
        _ => return skip("this system gives tests no disk of their own"),
    };
    run.must_say(1, &["disk/m-fp8.safetensors", "the disk has 32768 bytes left", "needs"]);
    assert_eq!(run.stdout, "", "left behind");
}

#[allow(clippy::print_stdout)]
fn skip(why: &str) {
    println!("skipped: {why}");
}

fn is_forbidden(output: &std::process::Output) -> bool {
    String::from_utf8_lossy(&output.stderr).contains("unshare")
}

#[cfg(target_os = "linux")]
#[test]
fn a_read_only_folder() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::with("m.safetensors", &plain_model());
    let locked = folder.path("locked");
    std::fs::create_dir(&locked).unwrap();
    std::fs::set_permissions(&locked, PermissionsExt::from_mode(0o555)).unwrap();
    let is_root = std::fs::write(locked.join("probe"), "").is_ok();
    // Permissions do not stop root; /sys takes no files from anyone.
    let place = if is_root { "/sys" } else { "locked" };
    if is_root {
        std::fs::remove_file(locked.join("probe")).unwrap();
    }
    let words = ["m-fp8.safetensors", "cannot create a file in the folder"];
    folder.refused(&["convert", "m.safetensors", "--out-dir", place], 1, &words);
}

/// A folder that takes files but cannot be opened, and so not be synced.
#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_cannot_be_synced_holds_the_whole_file_nevertheless() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65534;
    let folder = Folder::with("m.safetensors", &plain_model());
    let blind = folder.path("blind");
    std::fs::create_dir(&blind).unwrap();
    for (path, mode) in [(folder.root(), 0o755), (&blind, 0o333)] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }
    let mut tool = Command::new(crate::tool::binary());
    let tool = tool.args(["convert", "m.safetensors", "--out-dir", "blind"]);
    let tool = tool.current_dir(folder.root());
    if std::fs::read_dir(&blind).is_ok() {
        // Permissions do not stop root.
        tool.uid(NOBODY);
    }
    let Ok(output) = tool.output() else {
        return skip("this system does not let tests run as someone else");
    };
    let run = Run::of(output);
    std::fs::set_permissions(&blind, PermissionsExt::from_mode(0o755)).unwrap();
    let words = ["blind/m-fp8.safetensors: is complete and has its name", "not be synced"];
    run.must_say(1, &words);
    assert!(!run.stderr.contains("othing was written"), "{}", run.stderr);
    folder.done(&["verify", "m.safetensors", "blind/m-fp8.safetensors"]);
}

#[test]
fn a_name_that_is_too_long_is_refused_before_any_work() {
    let folder = Folder::new();
    folder.write("in.safetensors", &safetensors(&[matrix("a.weight", 16, 16)]));
    let output = format!("{}.safetensors", "x".repeat(300));
    folder.refused(
        &["convert", "in.safetensors", "-o", &output],
        1,
        &["cannot create a file of this name"],
    );
    assert_eq!(folder.names(), ["in.safetensors"]);
}

#[test]
fn a_folder_that_is_not_there() {
    let folder = Folder::with("m.safetensors", &plain_model());
    for (flag, help) in [("-o", "or use `--out-dir`"), ("--report", "create it first")] {
        let arguments = ["convert", "m.safetensors", flag, "nowhere/x"];
        folder.refused(&arguments, 1, &["nowhere/x: there is no folder", help]);
    }
    folder.refused(&["convert", "nothing.safetensors"], 1, &["nothing.safetensors", "cannot open"]);
}

#[test]
fn the_output_is_the_input() {
    let folder = Folder::with("m.safetensors", &plain_model());
    let words = ["m.safetensors", "this is an input", "-o"];
    folder.refused(&["convert", "m.safetensors", "-o", "m.safetensors"], 2, &words);
    folder.refused(&["convert", "m.safetensors", "-o", "./m.safetensors", "--force"], 2, &words);
    folder.refused(
        &["convert", "m.safetensors", "--report", "m.safetensors", "--force"],
        2,
        &words,
    );
}

#[cfg(unix)]
#[test]
fn the_output_is_a_link_to_the_input() {
    let folder = Folder::with("m.safetensors", &plain_model());
    std::fs::hard_link(folder.path("m.safetensors"), folder.path("hard")).unwrap();
    std::os::unix::fs::symlink("m.safetensors", folder.path("soft")).unwrap();
    for link in ["hard", "soft"] {
        let arguments = ["convert", "m.safetensors", "--force", "-o", link];
        folder.refused(&arguments, 2, &["this is an input"]);
    }
}

#[test]
fn the_output_is_the_next_input() {
    let folder = Folder::with("m.safetensors", &plain_model());
    folder.write("m-fp8.safetensors", &plain_model());
    let arguments = ["convert", "m.safetensors", "m-fp8.safetensors", "--force"];
    folder.refused(&arguments, 2, &["m-fp8.safetensors", "this is an input"]);
}

#[test]
fn a_recipe_with_an_unknown_key() {
    let folder = Folder::with("m.safetensors", &plain_model());
    folder.write("r.toml", b"scheme = 'fp8'\nshceme = 'int8'\n");
    let words = ["r.toml", "line 2", "shceme"];
    folder.refused(&["convert", "m.safetensors", "--recipe", "r.toml"], 2, &words);
    folder.write("r.toml", b"[[rules]]\npattern = 'a'\nscheme = 'int8'\nscale = 1\n");
    folder.refused(&["plan", "m.safetensors", "--recipe", "r.toml"], 2, &["r.toml", "`scale`"]);
}

#[test]
fn a_recipe_with_a_wrong_type_is_told_in_words_of_recipes() {
    let folder = Folder::with("m.safetensors", &plain_model());
    for (text, word) in [
        ("rules = ['a']", "expected a table such as `{ pattern = 'mlp', scheme = 'fp8' }`"),
        ("keep = 'a'", "expected a list in brackets"),
        ("scheme = 8", "expected text in quotes"),
        ("min_size = 'big'", "expected a whole number"),
        ("keep_distillation = 1", "expected true or false"),
        ("keep_distillation = [true]", "wrong type: a list"),
    ] {
        folder.write("r.toml", text.as_bytes());
        let words = ["r.toml", "line 1", word];
        let run = folder.refused(&["plan", "m.safetensors", "--recipe", "r.toml"], 2, &words);
        for jargon in ["struct", "RuleFile", "sequence", "u64", "boolean"] {
            assert!(!run.stderr.contains(jargon), "{}", run.stderr);
        }
    }
}

#[test]
fn an_unknown_size_of_blocks_names_one_that_is_known() {
    let folder = Folder::with("m.safetensors", &plain_model());
    for scheme in ["fp8-block-0", "fp8-block-x", "fp8-block-"] {
        let words = ["unknown scheme", "is `fp8-block-64` meant?"];
        folder.refused(&["convert", "m.safetensors", "--scheme", scheme], 2, &words);
    }
}

#[test]
fn standard_output_takes_no_weights() {
    let folder = Folder::with("m.safetensors", &plain_model());
    for flag in ["-o", "--report"] {
        folder.refused(&["convert", "m.safetensors", flag, "-"], 2, &["standard output", "name a"]);
    }
}

#[test]
fn a_recipe_that_is_not_toml() {
    let folder = Folder::with("m.safetensors", &plain_model());
    folder.write("r.toml", &[b"keep = [".as_slice(), &b"[".repeat(100_000)].concat());
    folder.refused(&["convert", "m.safetensors", "--recipe", "r.toml"], 2, &["r.toml"]);
    folder.write("r.toml", &[0xFF, 0xFE]);
    folder.refused(&["convert", "m.safetensors", "--recipe", "r.toml"], 1, &["r.toml", "UTF-8"]);
}

#[test]
fn a_regex_that_does_not_compile() {
    let folder = Folder::with("m.safetensors", &plain_model());
    let words = ["error: --keep: regex parse error", "unclosed group"];
    folder.refused(&["convert", "m.safetensors", "--keep", "attn.(qkv"], 2, &words);
    folder.write("r.toml", b"include = ['a', '[']");
    let words = ["include[1]", "unclosed character class"];
    folder.refused(&["convert", "m.safetensors", "--recipe", "r.toml"], 2, &words);
    // A pattern whose automaton would take gigabytes.
    let arguments = ["convert", "m.safetensors", "--keep", "(?:a{1000}){1000}{1000}"];
    folder.refused(&arguments, 2, &["--keep: ", "size limit"]);
}

#[test]
fn every_complaint_about_a_recipe_comes_at_once() {
    let folder = Folder::with("m.safetensors", &plain_model());
    let arguments = [
        "convert",
        "m.safetensors",
        "--scheme",
        "fp9",
        "--layout",
        "x",
        "--preset",
        "nobody",
        "--rule",
        "a=b",
        "--heuristic",
        "clever",
    ];
    let words = [
        "scheme: unknown scheme `fp9`",
        "layout:",
        "preset:",
        "--rule: unknown scheme `b`",
        "heuristic:",
    ];
    folder.refused(&arguments, 2, &words);
}

/// Marked so that nobody can tell its numbers; `inspect` shows it, `convert` refuses.
#[track_caller]
fn is_converted_never(bytes: &[u8], words: &[&str]) {
    let folder = Folder::with("m.safetensors", bytes);
    let words = [words, &["m.safetensors", "start from the original weights", "repair"]].concat();
    folder.refused(&["convert", "m.safetensors"], 1, &words);
    let inspected = folder.json(&["inspect", "m.safetensors", "--json"]);
    assert!(!inspected["findings"].as_array().unwrap().is_empty());
}

#[test]
fn codes_of_an_unknown_kind() {
    let words = ["`blocks.0.ff.in`", "format `float7_e9m9` is not known"];
    is_converted_never(&broken("comfy-unknown-format.safetensors"), &words);
}

#[test]
fn a_file_with_nothing_to_convert() {
    let folder =
        Folder::with("m.safetensors", &safetensors(&[crate::tool::vector("norm.weight", 8)]));
    let words = ["m.safetensors", "nothing to convert", "1 kept: a vector"];
    folder.refused(&["convert", "m.safetensors"], 1, &words);
    folder.refused(&["convert", "m.safetensors", "--quiet"], 1, &words);
}

#[test]
fn names_cannot_steer_the_terminal() {
    let clear = "blocks.0.\u{1b}[2J\u{202e}\u{61c}.weight";
    let mut file = File::parse(&safetensors(&[matrix("a.weight", 32, 32)]));
    let weight = file.tensors.remove("a.weight").unwrap();
    let name = clear.replace('\u{1b}', "\\u001b");
    let header = format!(
        "{{\"{name}\":{{\"dtype\":\"BF16\",\"shape\":[32,32],\"data_offsets\":[0,2048]}}}}"
    );
    let bytes = roundwise_testkit::files::with_header(&header, &weight.bytes);
    let folder = Folder::with("m.safetensors", &bytes);
    let shown = [
        folder.done(&["plan", "m.safetensors"]),
        folder.done(&["convert", "m.safetensors"]),
        folder.done(&["verify", "m.safetensors", "m-fp8.safetensors"]),
        folder.run(&["convert", "m.safetensors", "--keep", "."]).stderr,
    ];
    for text in shown {
        assert!(!text.contains('\u{1b}') && !text.contains(['\u{202e}', '\u{61c}']), "{text:?}");
    }
}

#[test]
fn names_of_files_cannot_steer_the_terminal() {
    let name = "m\u{1b}[2J\u{202e}\u{61c}.safetensors";
    let folder = Folder::with(name, &plain_model());
    let output = "m\u{1b}[2J\u{202e}\u{61c}-fp8.safetensors";
    let shown = [
        folder.done(&["plan", name]),
        folder.done(&["convert", name]),
        folder.done(&["inspect", output]),
        folder.done(&["verify", name, output]),
        folder.run(&["convert", name]).stderr,
        folder.run(&["convert", name, name]).stderr,
    ];
    for text in shown {
        assert!(!text.contains('\u{1b}') && !text.contains(['\u{202e}', '\u{61c}']), "{text:?}");
    }
}

#[test]
fn files_of_other_kinds_are_named_with_what_helps() {
    for (bytes, words) in [
        (&b"<!DOCTYPE html><html>401</html>"[..], ["is a web page", "fetch the file itself"]),
        (b"{\"error\": \"no access\"}", ["is a text file", "fetch it again"]),
        (b"", ["the file is 0 bytes", "fetch it again"]),
        (&[0; 64], ["starts with byte 0x00", "fetch it again"]),
        (b"7z\xbc\xaf'\x1c\x00\x04 and more", ["is a packed archive", "unpack it first"]),
        (b"\x93NUMPY\x01\x00v\x00{", ["is an array of NumPy", "convert it to safetensors"]),
        (b"\x89HDF\r\n\x1a\n\x00\x00", ["is HDF5", "convert it to safetensors"]),
    ] {
        is_refused(bytes, &words);
    }
}

#[test]
fn names_that_promise_what_is_not_done_are_refused() {
    let folder = Folder::with("m.safetensors", &plain_model());
    for name in ["o.gguf", "o.PT", "o.bin"] {
        let words = ["outputs are safetensors", "name o.safetensors"];
        folder.refused(&["convert", "m.safetensors", "-o", name], 2, &words);
        folder.refused(&["dequantize", "m.safetensors", "-o", name], 2, &words);
        let to = format!("fp8={name}");
        folder.refused(&["convert", "m.safetensors", "--to", &to], 2, &words);
    }
    for command in ["convert", "plan", "inspect", "dequantize", "repair"] {
        folder.refused(&[command, "-"], 2, &["standard input is not read", "./-"]);
    }
    folder.refused(&["report", "m.safetensors"], 1, &["is no report", "--report FILE"]);
    assert_eq!(folder.names(), ["m.safetensors"]);
}

#[test]
fn misspelt_names_are_guessed() {
    let folder = Folder::with("m.safetensors", &plain_model());
    for (flags, words) in [
        (["--scheme", "fp8-rwo"], "is `fp8-row` meant?"),
        (["--scheme", "fp8_e4m3fn"], "is `fp8` meant?"),
        (["--preset", "flx"], "is `flux` meant?"),
        (["--method", "principle"], "is `principal` meant?"),
        (["--as", "diffusion_modle"], "is `diffusion-model` meant?"),
        (["--names", "keeep"], "is `keep` meant?"),
    ] {
        folder.refused(&[&["plan", "m.safetensors"], &flags[..]].concat(), 2, &[words]);
    }
    folder.refused(&["methods", "adaruond"], 2, &["is `adaround` meant?"]);
    folder.refused(&["presets", "qwenn"], 2, &["is `qwen` meant?"]);
}

#[test]
fn one_method_or_preset_is_shown_alone_and_no_line_is_long() {
    let folder = Folder::new();
    let one = folder.done(&["methods", "adaround"]);
    assert!(one.starts_with("adaround: ") && !one.contains("\nprincipal: "), "{one}");
    assert_eq!(folder.json(&["presets", "flux", "--json"]).as_array().unwrap().len(), 1);
    for listed in ["methods", "presets"] {
        let all = folder.done(&[listed]);
        let longest = all.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(110), "{listed}: {longest:?}");
    }
}

/// A share of the error may be typed in percent.
#[test]
fn a_budget_in_percent_is_a_share() {
    let folder = Folder::with("m.safetensors", &plain_model());
    let budget = |text: &str| {
        let flags = ["--method", "principal", "--weight-error-budget", text, "--no-provenance"];
        let output = format!("{}.safetensors", text.trim_end_matches('%'));
        folder.done(&[&["convert", "m.safetensors", "-o", &output, "-q"], &flags[..]].concat());
        folder.read(&output)
    };
    assert!(budget("3%") == budget("0.03"));
}

#[test]
fn a_report_is_told_from_an_index_and_from_a_recipe() {
    let folder = plain();
    folder.done(&["convert", "m.safetensors", "-q", "--report", "r.json"]);
    folder.refused(
        &["inspect", "r.json"],
        1,
        &["r.json: is a report of a conversion, not the index"],
    );
    let words = ["is a report of a conversion, not a recipe"];
    folder.refused(&["plan", "m.safetensors", "--recipe", "r.json"], 2, &words);
}

#[test]
fn numbers_below_0_and_0_are_told_by_what_was_expected() {
    let folder = plain();
    for (flags, words) in [
        (["--bits", "-3"], "--bits"),
        (["--threads", "-1"], "expected a number from 1"),
        (["--extract-error-lora", "0"], "expected a whole number of 1 or more"),
    ] {
        let run =
            folder.refused(&[&["convert", "m.safetensors"], &flags[..]].concat(), 2, &[words]);
        assert!(!run.stderr.contains("unexpected argument"), "{}", run.stderr);
    }
    let refused =
        folder.refused(&["plan", "m.safetensors", "--scheme", "fp9"], 2, &["is `fp8` meant?"]);
    assert!(!refused.stderr.contains("known:"), "{}", refused.stderr);
}

#[test]
fn what_training_leaves_beside_a_model_is_no_candidate() {
    let folder = Folder::with(
        "m/pytorch_model.bin",
        include_bytes!("../../../../fixtures/pickled/state.pt"),
    );
    for name in ["training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state_0.pth"] {
        folder.write(&format!("m/{name}"), b"no weights");
    }
    folder.done(&["inspect", "m"]);
}
