//! Shards are one checkpoint, and an index cannot lie or reach out of its folder.

use std::path::Path;

use crate::common::{put, raw_file, two_tensors};
use roundwise_tensor_file::{Checkpoint, Remark, TensorFileErrorKind as Kind};

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
        r#"{"z":"2.safetensors","a":"1.safetensors"}"#,
        Kind::NotInShard { shard } if shard == "1.safetensors"
    );
    refused!(r#"{"y":"1.safetensors"}"#, Kind::NotInShard { .. });
    refused!(
        r#"{"x":"1.safetensors","y":"1.safetensors","z":"1.safetensors"}"#,
        Kind::NotInShard { .. }
    );
    refused!(r#"{"z":"1.safetensors","z":"2.safetensors"}"#, Kind::IndexDuplicate);
    refused!("{}", Kind::IndexEmpty);
    refused!("[]", Kind::IndexJson { .. });
    refused!(r#"{"z":1}"#, Kind::IndexJson { .. });
    refused!(&format!(r#"{{"z":{}"#, "[".repeat(1_000_000)), Kind::IndexJson { .. });
}

/// As with weights that share the numbers of another tensor.
#[test]
fn names_that_no_shard_has_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let places = r#"{"z":"1.safetensors","a":"2.safetensors","lm_head.weight":"2.safetensors"}"#;
    two_shards(folder.path(), places);
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(checkpoint.tensors().len(), 2);
    let tensors = vec!["lm_head.weight".to_owned()];
    assert_eq!(checkpoint.remarks(), [Remark::NotInShards { tensors }]);
    let text = checkpoint.remarks()[0].to_string();
    assert_eq!(text, "the index names 1 tensor that no shard holds: lm_head.weight");
}

#[test]
fn keys_of_an_index_that_mean_nothing_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let places = r#"{"z":"1.safetensors","a":"2.safetensors"},"made_by":{"x":[1]}"#;
    two_shards(folder.path(), places);
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(checkpoint.remarks(), [Remark::IndexKeys { keys: vec!["made_by".to_owned()] }]);
    refused!(r#"{"z":"1.safetensors"},"weight_map":{"z":"1.safetensors"}"#, Kind::IndexJson { .. });
}

#[test]
fn the_index_decides_between_shards_that_hold_one_tensor() {
    for (shard_of_z, value) in [("1.safetensors", 7), ("2.safetensors", 9)] {
        let folder = tempfile::tempdir().unwrap();
        let places = format!(r#"{{"z":"{shard_of_z}","o":"1.safetensors","p":"2.safetensors"}}"#);
        two_shards(folder.path(), &places);
        for (file, name, byte) in [("1.safetensors", "o", 7), ("2.safetensors", "p", 9)] {
            let entry = |name, at| {
                format!(r#""{name}":{{"dtype":"U8","shape":[1],"data_offsets":[{at},{}]}}"#, at + 1)
            };
            let header = format!("{{{},{}}}", entry("z", 0), entry(name, 1));
            put(folder.path(), file, raw_file(header.as_bytes(), &[byte, byte + 1]));
        }
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        assert_eq!(checkpoint.tensors().len(), 3);
        assert_eq!(checkpoint.read(checkpoint.get("z").unwrap()).unwrap(), [value]);
        assert_eq!(checkpoint.remarks(), [Remark::Overlay { tensors: vec!["z".to_owned()] }]);
    }
}

#[test]
fn a_tensor_in_two_shards_that_the_index_does_not_place_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    two_shards(folder.path(), r#"{"y":"1.safetensors","a":"2.safetensors"}"#);
    put(folder.path(), "1.safetensors", two_tensors());
    put(folder.path(), "2.safetensors", two_tensors());
    let error = Checkpoint::open(folder.path()).unwrap_err();
    assert!(matches!(error.kind(), Kind::InTwoShards { .. }), "{error:?}");
    assert_eq!(error.tensor(), Some("b"));
    assert!(error.to_string().contains("\n  name the shard that counts"), "{error}");
}

#[test]
fn shards_without_an_index_are_put_together_by_their_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    put(folder.path(), names[0], shard("z", 7, "{}"));
    // One is missing.
    let error = Checkpoint::open(folder.path()).unwrap_err();
    assert!(
        matches!(error.kind(), Kind::ShardsMissing { missing } if missing == &[names[1]]),
        "{error:?}"
    );
    put(folder.path(), names[1], shard("a", 9, "{}"));
    put(folder.path(), "config.json", "{}");
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let found = checkpoint.tensors().iter().map(|tensor| tensor.name.as_str());
    assert!(found.eq(["a", "z"]));
    assert_eq!(checkpoint.remarks(), [Remark::NoIndex { shards: 2 }]);
    // By its own name, one is read alone, and that is told.
    let alone = Checkpoint::open(&folder.path().join(names[1])).unwrap();
    assert_eq!(alone.tensors().len(), 1);
    assert_eq!(alone.remarks(), [Remark::OneShard { number: 2, count: 2 }]);
    // Nothing says which copy counts.
    put(folder.path(), names[1], shard("z", 9, "{}"));
    let error = Checkpoint::open(folder.path()).unwrap_err();
    assert!(matches!(error.kind(), Kind::InTwoShards { .. }), "{error:?}");
    // Files of another model beside them may be what is meant.
    put(folder.path(), "other.safetensors", two_tensors());
    let error = Checkpoint::open(folder.path()).unwrap_err();
    assert!(matches!(error.kind(), Kind::FolderAmbiguous { found: 3, .. }), "{error:?}");
}

#[test]
fn what_stands_in_place_of_an_index_is_named() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "1.safetensors", shard("z", 7, "{}"));
    for (text, looks_like, help) in [
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n",
            "a Git LFS pointer",
            "git lfs pull",
        ),
        ("<!DOCTYPE html><html>", "a web page", "fetch the index again"),
    ] {
        put(folder.path(), INDEX, text);
        let error = Checkpoint::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains(looks_like) && error.contains(help), "{error}");
    }
}
