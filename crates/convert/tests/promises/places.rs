//! A wrong place of an output is reported before the work, by a stable name.

use std::path::Path;

use roundwise_convert::plan::Limits;
use roundwise_convert::run::{Target, check_apart};
use roundwise_convert::tensor_file::Overwrite;
use roundwise_convert::tensor_file::available_bytes;
use roundwise_convert::{Job, Recipe, RecipeFile};
use roundwise_testkit::files::{Tensor, safetensors};
use roundwise_testkit::weights::gaussian;

fn job(folder: &Path, output: &str) -> Job {
    let recipe = Recipe::check(RecipeFile::default()).unwrap();
    Job::new(folder.join("in.safetensors"), folder.join(output), recipe)
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let model = safetensors(&[Tensor::f32("a.weight", &gaussian(8, 8, 1))]);
    std::fs::write(folder.path().join("in.safetensors"), model).unwrap();
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    std::fs::create_dir(folder.path().join("full")).unwrap();
    std::fs::write(folder.path().join("full/file"), b"mine").unwrap();
    folder
}

#[test]
fn a_place_is_refused_for_what_is_there() {
    let folder = folder();
    let check = |job: &Job| {
        let target = Target::output(job, "the output");
        target.check_folder().and_then(|()| target.check()).map_err(|error| error.kind())
    };
    let limits = Limits { shard_bytes: Some(1), ..Limits::default() };
    for (output, as_file, as_folder) in [
        ("new", Ok(()), Ok(())),
        ("empty", Err("output_is_folder"), Ok(())),
        ("full", Err("output_is_folder"), Err("folder_not_empty")),
        ("full/file", Err("output_exists"), Err("folder_not_empty")),
        ("gone/new", Err("no_folder"), Err("no_folder")),
    ] {
        let job = job(folder.path(), output);
        assert_eq!(check(&job), as_file, "{output}");
        assert_eq!(check(&Job { limits, ..job }), as_folder, "{output}");
    }
    let replaced = Job { overwrite: Overwrite::Replace, ..job(folder.path(), "full/file") };
    assert_eq!(check(&replaced), Ok(()));
    assert_eq!(std::fs::read(folder.path().join("full/file")).unwrap(), b"mine");
}

#[test]
fn two_outputs_in_one_place_and_an_output_on_an_input_are_refused() {
    let folder = folder();
    let [a, b] = ["a", "full/../a"].map(|name| Target::output(&job(folder.path(), name), name));
    let report = Target::file(folder.path().join("r.json"), "the report", Overwrite::Refuse);
    let input = folder.path().join("in.safetensors");
    let onto = Target::output(&job(folder.path(), "in.safetensors"), "the output");
    let check = |targets: &[&Target]| {
        let targets: Vec<Target> = targets.iter().map(|&target| target.clone()).collect();
        check_apart(&targets, std::slice::from_ref(&input)).map_err(|error| error.kind())
    };
    assert_eq!(check(&[&a, &report]), Ok(()));
    assert_eq!(check(&[&a, &report, &b]), Err("same_place"));
    assert_eq!(check(&[&report, &onto]), Err("output_is_input"));
    // Whatever is read counts, such as a recipe.
    let recipe = folder.path().join("full/file");
    let onto = Target::file(recipe.clone(), "the report", Overwrite::Replace);
    let error = check_apart(&[onto], &[input.clone(), recipe]).map_err(|error| error.kind());
    assert_eq!(error, Err("output_is_input"));
}

#[test]
fn free_space_is_known_of_places_that_are_not_there_yet() {
    let folder = folder();
    for path in ["", "in.safetensors", "empty", "gone/and/gone"] {
        assert!(available_bytes(&folder.path().join(path)).is_some(), "{path}");
    }
}
