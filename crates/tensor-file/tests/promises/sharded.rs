//! Shards are one checkpoint, and an index cannot lie or reach out of its folder.

use std::path::Path;

use crate::common::{put, raw_file, two_tensors};
use roundwise_tensor_file::{Checkpoint, TensorFileErrorKind as Kind};

const INDEX: &str = "model.safetensors.index.json";

fn shard(name: &str, byte: u8, metadata: &str) -> Vec<u8> {
    let header = format!(
        r#"{{"__metadata__":{metadata},"{name}":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}}}"#
    );
    raw_file(header.as_bytes(), &[byte])
}

/// Shards `1.safetensors` with tensor `z` = 7 and `2.safetensors` with tensor `a` = 9.
fn two_shards(folder: &Path, weight_map: &str) {
    put(folder, "1.safetensors", shard("z", 7, r#"{"k":"first","one":"1"}"#));
    put(folder, "2.safetensors", shard("a", 9, r#"{"k":"second","two":"2"}"#));
    put(folder, INDEX, format!(r#"{{"metadata":{{"total_size":2}},"weight_map":{weight_map}}}"#));
}

macro_rules! refused {
    ($weight_map:expr, $kind:pat $(if $guard:expr)?) => {{
        let folder = tempfile::tempdir().unwrap();
        two_shards(folder.path(), $weight_map);
        let error = Checkpoint::open(folder.path()).expect_err("hostile");
        assert!(matches!(error.kind(), $kind $(if $guard)?), "{error:?}");
    }};
}

#[test]
fn shards_are_one_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    two_shards(folder.path(), r#"{"z":"1.safetensors","a":"2.safetensors"}"#);
    for path in [folder.path().to_owned(), folder.path().join(INDEX)] {
        let checkpoint = Checkpoint::open(&path).unwrap();
        assert_eq!(checkpoint.path(), path);
        let names: Vec<_> = checkpoint.tensors().iter().map(|tensor| &tensor.name).collect();
        assert_eq!(names, ["a", "z"]);
        assert_eq!(checkpoint.read(checkpoint.get("a").unwrap()).unwrap(), [9]);
        assert_eq!(checkpoint.read(checkpoint.get("z").unwrap()).unwrap(), [7]);
        assert!(checkpoint.get("b").is_none());
        let metadata: Vec<_> = checkpoint
            .metadata()
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        assert_eq!(metadata, [("k", "first"), ("one", "1"), ("two", "2")]);
        assert_eq!(
            checkpoint.disputed_metadata(),
            &[("k".to_owned(), vec!["second".to_owned()])].into()
        );
        assert!(checkpoint.metadata_values("k").eq(["first", "second"]));
        assert!(checkpoint.metadata_values("one").eq(["1"]));
        assert_eq!(checkpoint.metadata_values("three").count(), 0);
        assert_eq!(checkpoint.files().len(), 2);
        let on_disk = |name| std::fs::metadata(folder.path().join(name)).unwrap().len();
        let bytes = ["1.safetensors", "2.safetensors"].map(on_disk);
        assert_eq!(checkpoint.total_bytes(), bytes.iter().sum::<u64>());
        assert!(checkpoint.same_file_as(&folder.path().join("2.safetensors")));
    }
}

#[test]
fn the_index_says_which_files_and_the_files_say_which_tensors() {
    let folder = tempfile::tempdir().unwrap();
    two_shards(folder.path(), r#"{"a":"3.safetensors"}"#);
    put(folder.path(), "3.safetensors", two_tensors());
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let [file] = checkpoint.files() else { panic!("{:?}", checkpoint.files()) };
    assert_eq!(file.path(), folder.path().join("3.safetensors"));
    assert!(checkpoint.get("b").is_some(), "unlisted, but in a listed file");
    assert!(checkpoint.get("z").is_none(), "in a file that is not listed");
}

#[test]
fn an_index_cannot_reach_out_of_its_folder() {
    for name in [
        "../1.safetensors",
        "/etc/passwd",
        "sub/1.safetensors",
        "./1.safetensors",
        "1.safetensors/",
        "..",
        ".",
        "",
        r"..\\1.safetensors",
        "c:1.safetensors",
        r"1.safetensors\u0000",
    ] {
        refused!(&format!(r#"{{"z":"{name}"}}"#), Kind::IndexFileName { .. });
    }
}

#[test]
fn an_index_cannot_lie() {
    refused!(r#"{"z":"3.safetensors"}"#, Kind::ShardMissing { shard } if shard == "3.safetensors");
    refused!(
        r#"{"z":"2.safetensors","a":"2.safetensors"}"#,
        Kind::NotInShard { shard } if shard == "2.safetensors"
    );
    refused!(r#"{"y":"1.safetensors"}"#, Kind::NotInShard { .. });
    refused!(r#"{"z":"1.safetensors","z":"2.safetensors"}"#, Kind::IndexDuplicate);
    refused!("{}", Kind::IndexEmpty);
    refused!("[]", Kind::IndexJson { .. });
    refused!(r#"{"z":1}"#, Kind::IndexJson { .. });
    refused!(&format!(r#"{{"z":{}"#, "[".repeat(1_000_000)), Kind::IndexJson { .. });
}

#[test]
fn a_tensor_in_two_shards_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    two_shards(folder.path(), r#"{"z":"1.safetensors","a":"2.safetensors"}"#);
    put(folder.path(), "2.safetensors", shard("z", 9, "{}"));
    let error = Checkpoint::open(folder.path()).unwrap_err();
    assert!(matches!(error.kind(), Kind::InTwoShards { .. }), "{error:?}");
    assert_eq!(error.tensor(), Some("z"));
}
