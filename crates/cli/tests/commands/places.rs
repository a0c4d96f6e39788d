//! Wrong arguments and wrong places of outputs are reported with a way out.

use roundwise_testkit::files::{Tensor, safetensors_with_metadata};

use crate::plain;
use crate::tool::Folder;

#[test]
fn a_file_without_a_command_names_two() {
    let folder = plain();
    let words = ["`roundwise convert m.safetensors`", "`roundwise inspect m.safetensors`"];
    folder.refused(&["m.safetensors"], 2, &words);
    folder.refused(&["gone.safetensors"], 2, &["unrecognized subcommand"]);
}

#[test]
fn statistics_are_no_model() {
    let entries = [("format", "roundwise-stats"), ("version", "1")];
    let sums = Tensor::new("a.sum", "F32", &[4], vec![0; 16]);
    let bytes = safetensors_with_metadata(&[sums], &entries);
    let folder = Folder::with("m.stats.safetensors", &bytes);
    for command in ["convert", "plan", "inspect"] {
        let words = ["holds statistics of a model's inputs", "--stats m.stats.safetensors"];
        folder.refused(&[command, "m.stats.safetensors"], 1, &words);
    }
}

#[test]
fn one_file_cannot_be_compared_with_itself() {
    let folder = plain();
    let words = ["is both files", "`roundwise inspect`"];
    folder.refused(&["verify", "m.safetensors", "./m.safetensors"], 2, &words);
}

#[test]
fn two_files_in_the_wrong_order_are_noticed() {
    let folder = plain();
    folder.done(&["convert", "m.safetensors", "-q"]);
    let run = folder.run(&["verify", "m-fp8.safetensors", "m.safetensors"]);
    assert_eq!(run.code, 3);
    assert!(run.stdout.contains("they are swapped"), "{}", run.stdout);
    let run = folder.run(&["verify", "m.safetensors", "m-fp8.safetensors"]);
    assert!(!run.stdout.contains("swapped"), "{}", run.stdout);
}

#[test]
fn what_is_wrong_with_a_recipe_comes_before_an_output_that_exists() {
    let folder = plain();
    folder.write("m-fp8.safetensors", b"mine");
    folder.refused(&["convert", "m.safetensors", "--keep", "qkv"], 2, &["--keep `qkv` matches"]);
    folder.refused(&["convert", "m.safetensors"], 1, &["exists already"]);
}

#[test]
fn an_adapter_that_exists_is_told_before_the_work() {
    let folder = plain();
    folder.write("m-fp8-error-lora.safetensors", b"mine");
    let convert = ["convert", "m.safetensors", "--extract-error-lora", "2"];
    let words = ["m-fp8-error-lora.safetensors: exists already", "--force"];
    folder.refused(&convert, 1, &words);
    assert!(!folder.path("m-fp8.safetensors").exists());
    let run = folder.done(&[&convert[..], &["--force"]].concat());
    assert!(run.contains("of rank 2"), "{run}");
}

#[test]
fn no_adapter_is_extracted_where_there_are_no_codes() {
    let folder = plain();
    let convert = ["convert", "m.safetensors", "--scheme", "bf16", "--extract-error-lora", "2"];
    folder.refused(&convert, 2, &["--extract-error-lora", "`bf16`", "stores no codes"]);
    assert!(!folder.path("m-bf16.safetensors").exists());
}

#[test]
fn a_report_goes_where_its_flag_can_put_it() {
    let folder = plain();
    let run = folder.refused(
        &["convert", "m.safetensors", "--report", "gone/r.json"],
        1,
        &["gone/r.json: there is no folder", "create it first"],
    );
    assert!(!run.stderr.contains("--out-dir"), "{}", run.stderr);
    std::fs::create_dir(folder.path("there")).unwrap();
    let words = ["there: is a folder", "name a file for the report"];
    folder.refused(&["convert", "m.safetensors", "--report", "there"], 2, &words);
}

/// Nobody can make a file there, not even the administrator.
#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_cannot_be_written_into_is_found_before_the_work() {
    let folder = plain();
    for flags in [["-o", "/proc/m.safetensors"], ["--out-dir", "/proc"], ["--report", "/proc/r"]] {
        let words = ["error: /proc/", ": cannot create a file in the folder"];
        folder.refused(&[&["convert", "m.safetensors"], &flags[..]].concat(), 1, &words);
    }
}

/// Where a shell has led standard output into a file, its link seems to lead to one.
#[cfg(target_os = "linux")]
#[test]
fn a_link_to_an_open_file_is_never_replaced() {
    let folder = plain();
    std::os::unix::fs::symlink("/proc/self/fd/1", folder.path("o.safetensors")).unwrap();
    let mut tool = std::process::Command::new(crate::tool::binary());
    tool.args(["convert", "m.safetensors", "-o", "o.safetensors", "--force"]);
    tool.current_dir(folder.root()).stdout(std::fs::File::create(folder.path("log")).unwrap());
    let output = tool.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("o.safetensors: is a link to a device or to an open file"), "{stderr}");
    assert!(folder.path("o.safetensors").is_symlink());
}

/// Backups link the files of a folder, those of an unfinished run among them.
#[cfg(unix)]
#[test]
fn what_has_a_second_name_is_not_written_through_the_first() {
    let folder = plain();
    folder.write("backup", b"mine");
    std::fs::hard_link(folder.path("backup"), folder.path(".o.safetensors.partial")).unwrap();
    let words = [".o.safetensors.partial: is also another file, by a hard link"];
    for fresh in [&[][..], &["--fresh"]] {
        let arguments = [&["convert", "m.safetensors", "-o", "o.safetensors"], fresh].concat();
        folder.refused(&arguments, 1, &words);
        assert_eq!(folder.read("backup"), b"mine");
    }
}

#[cfg(unix)]
#[test]
fn a_link_to_nowhere_exists_like_a_file() {
    let folder = plain();
    std::os::unix::fs::symlink("gone", folder.path("o.safetensors")).unwrap();
    let words = ["o.safetensors: exists already", "name another file", "--force"];
    folder.run(&["convert", "m.safetensors", "-o", "o.safetensors"]).must_say(1, &words);
}

#[test]
fn texts_never_replace_weights() {
    let folder = plain();
    let before = folder.read("m.safetensors");
    folder.write("other.gguf", b"mine");
    folder.write("other.safetensors", b"mine");
    for report in ["other.safetensors", "other.gguf"] {
        let convert = ["convert", "m.safetensors", "-o", "o.safetensors", "--force", "--report"];
        let words = [report, "is a name of weights", "another file for the report"];
        folder.refused(&[&convert[..], &[report]].concat(), 2, &words);
    }
    folder.done(&["convert", "m.safetensors", "--report", "r.json"]);
    let migrate = ["migrate", "m-fp8.safetensors", "--to", "comfy-legacy", "--force", "--report"];
    folder.refused(&[&migrate[..], &["m-fp8.safetensors"]].concat(), 2, &["is a name of weights"]);
    #[cfg(feature = "studio")]
    {
        std::fs::copy(folder.path("r.json"), folder.path("copy.json")).unwrap();
        let page = ["report", "r.json", "--force", "-o"];
        let words = ["m.safetensors: is a name of weights"];
        folder.refused(&[&page[..], &["m.safetensors"]].concat(), 2, &words);
        folder.refused(&[&page[..], &["./r.json"]].concat(), 2, &["is a report"]);
    }
    assert_eq!(folder.read("m.safetensors"), before);
}

/// A model that others may not read stays so, in whatever form.
#[cfg(unix)]
#[test]
fn outputs_are_no_more_readable_than_their_input() {
    use std::os::unix::fs::PermissionsExt;
    let folder = plain();
    let mode = |name: &str| folder.path(name).metadata().unwrap().permissions().mode() & 0o777;
    let usual = mode("m.safetensors");
    folder.done(&["convert", "m.safetensors", "-o", "usual.safetensors"]);
    assert_eq!(mode("usual.safetensors"), usual);
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(folder.path("m.safetensors"), private).unwrap();
    folder.done(&["convert", "m.safetensors", "-o", "o.safetensors"]);
    folder.done(&["dequantize", "o.safetensors", "-o", "d", "--shard-size", "1GB"]);
    for part in ["1/2", "2/2"] {
        folder.done(&["convert", "m.safetensors", "-o", "p.safetensors", "--part", part]);
    }
    let [one, two] = ["p.part-1-of-2.safetensors", "p.part-2-of-2.safetensors"];
    folder.done(&["merge", one, two, "-o", "merged.safetensors"]);
    for name in ["o.safetensors", "d/model.safetensors", one, "merged.safetensors"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
}

#[test]
fn the_help_says_what_exit_codes_mean() {
    let help = Folder::new().done(&["--help"]);
    assert!(help.contains("3 `verify` or `repair` found something wrong"), "{help}");
}
