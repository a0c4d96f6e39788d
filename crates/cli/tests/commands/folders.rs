//! Folders of shards go in and come out whole, with what belongs to them and nothing else.

use crate::tool::{Folder, matrix, vector};
use roundwise_testkit::files::{Tensor, safetensors};
use serde_json::{Value, json};

const INDEX: &str = "in/model.safetensors.index.json";

fn index(places: &[(&str, &str)]) -> Vec<u8> {
    let map: serde_json::Map<String, Value> =
        places.iter().map(|(tensor, file)| ((*tensor).to_owned(), json!(file))).collect();
    json!({ "metadata": { "total_size": 1 }, "weight_map": map }).to_string().into_bytes()
}

fn tensors() -> [Tensor; 3] {
    [matrix("a.weight", 64, 64), matrix("b.weight", 64, 128), vector("b.bias", 64)]
}

/// A folder as Hugging Face's libraries write it.
fn shards() -> Folder {
    let folder = Folder::new();
    let [a, b, bias] = tensors();
    folder.write("in/model-00001-of-00002.safetensors", &safetensors(&[a]));
    folder.write("in/model-00002-of-00002.safetensors", &safetensors(&[b, bias]));
    let [first, second] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    folder.write(INDEX, &index(&[("a.weight", first), ("b.weight", second), ("b.bias", second)]));
    folder.write("in/config.json", b"{\"a\": 1}");
    folder.write("in/tokenizer.model", b"tokens");
    folder.write("in/pytorch_model.bin", b"the same weights again");
    folder.write("in/.cache", b"nobody's");
    folder
}

#[test]
fn shards_and_what_lies_beside_them_come_out_as_a_folder() {
    let folder = shards();
    folder.done(&["convert", "in", "--shard-size", "10KB"]);
    let names: Vec<String> =
        folder.names().into_iter().filter(|n| n.starts_with("in-fp8")).collect();
    let shard = |number| format!("in-fp8/model-0000{number}-of-00002.safetensors");
    let index = "in-fp8/model.safetensors.index.json".to_owned();
    let config = "in-fp8/config.json".to_owned();
    let expected = [config, shard(1), shard(2), index, "in-fp8/tokenizer.model".to_owned()];
    assert_eq!(names, expected);
    assert_eq!(folder.read("in-fp8/config.json"), b"{\"a\": 1}");
    folder.done(&["verify", "in", "in-fp8"]);
    // A folder of shards gives the same tensors as one file.
    folder.done(&["convert", "in", "-o", "one.safetensors"]);
    let one = folder.file("one.safetensors");
    let [first, second] = [shard(1), shard(2)].map(|name| folder.file(&name));
    let mut both = first.tensors.clone();
    both.extend(second.tensors.clone());
    assert_eq!(both.keys().collect::<Vec<_>>(), one.tensors.keys().collect::<Vec<_>>());
    assert!(one.tensors.iter().all(|(name, tensor)| tensor.bytes == both[name].bytes));
    assert_eq!((&first.metadata, &second.metadata), (&one.metadata, &one.metadata));
    // And back.
    folder.done(&["convert", "in-fp8", "-o", "again.safetensors"]);
    assert_eq!(folder.file("again.safetensors").get("a.weight").bytes, one.get("a.weight").bytes);
}

#[test]
fn shards_of_diffusers_keep_their_name() {
    let folder = Folder::new();
    folder.write("in/diffusion_pytorch_model.safetensors", &safetensors(&tensors()));
    folder.write("in/config.json", b"{}");
    folder.done(&["convert", "in", "-o", "out", "--shard-size", "1GiB"]);
    assert!(folder.path("out/diffusion_pytorch_model.safetensors").is_file());
    folder.refused(
        &["convert", "in", "-o", "out", "--shard-size", "1GiB", "--force"],
        1,
        &["out", "exists already", "folder"],
    );
    folder.refused(&["convert", "in", "--shard-size", "0"], 2, &["5GB"]);
}

#[test]
fn an_index_that_reaches_out_or_names_what_is_not_there_is_refused() {
    for (places, words) in [
        (&[("a.weight", "../a.safetensors")][..], &["a.weight", "../a.safetensors"][..]),
        (&[("a.weight", "/etc/passwd")], &["a.weight", "/etc/passwd"]),
        (&[("a.weight", "gone.safetensors")], &["gone.safetensors", "is missing"]),
        (&[("c.weight", "model-00001-of-00002.safetensors")], &["c.weight", "does not hold it"]),
    ] {
        let folder = shards();
        folder.write("a.safetensors", &safetensors(&tensors()));
        folder.write(INDEX, &index(places));
        folder.refused(&["convert", "in", "--shard-size", "1GB"], 1, words);
    }
}

#[cfg(unix)]
#[test]
fn links_do_not_carry_files_of_others_into_the_output() {
    let convert = ["convert", "in", "--shard-size", "1GB"];
    let folder = shards();
    folder.write("secret", b"a key");
    std::os::unix::fs::symlink("../secret", folder.path("in/notes.txt")).unwrap();
    folder.refused(&convert, 1, &["notes.txt", "is a link to", "secret"]);
    let looped = folder.path("in/notes.txt");
    std::fs::remove_file(&looped).unwrap();
    std::os::unix::fs::symlink("notes.txt", &looped).unwrap();
    let run = folder.run(&convert);
    run.must_say(1, &["notes.txt"]);
    std::fs::remove_file(&looped).unwrap();
    // As the hub's cache keeps its files.
    std::fs::create_dir_all(folder.path("hub/snapshots")).unwrap();
    std::fs::rename(folder.path("in"), folder.path("hub/snapshots/1")).unwrap();
    folder.write("hub/blobs/0a", b"{\"b\": 2}");
    let link = folder.path("hub/snapshots/1/generation_config.json");
    std::os::unix::fs::symlink("../../blobs/0a", link).unwrap();
    folder.done(&["convert", "hub/snapshots/1", "-o", "out", "--shard-size", "1GB"]);
    assert_eq!(folder.read("out/generation_config.json"), b"{\"b\": 2}");
    let output = crate::tool::File::parse(&folder.read("out/model.safetensors"));
    assert!(output.tensors.contains_key("b.bias"));
}

#[test]
fn the_folder_of_a_pipeline_names_those_of_its_models() {
    let folder = Folder::new();
    folder.write("pipe/model_index.json", b"{}");
    folder.write("pipe/transformer/m.safetensors", &safetensors(&tensors()));
    folder.write("pipe/vae/m.safetensors", &safetensors(&tensors()));
    for command in ["convert", "plan", "inspect"] {
        let words = ["2 of its folders do: transformer, vae", "such as pipe/transformer"];
        folder.refused(&[command, "pipe"], 1, &words);
    }
    let words = ["holds no weight file", ".gguf"];
    folder.write("none/readme.txt", b"nothing");
    folder.refused(&["inspect", "none"], 1, &words);
}

#[test]
fn a_shard_that_the_index_leaves_out_is_told() {
    let folder = shards();
    let first = "model-00001-of-00002.safetensors";
    folder.write("in/model-00001-of-00002.safetensors", &safetensors(&tensors()[..1]));
    folder.write("in/model-00002-of-00002.safetensors", &safetensors(&tensors()[1..]));
    folder.write("in/model.safetensors.index.json", &index(&[(&tensors()[0].name, first)]));
    let told = folder.done(&["inspect", "in"]);
    assert!(told.contains("does not name: model-00002-of-00002.safetensors"), "{told}");
}
