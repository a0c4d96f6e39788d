//! A folder of shards appears whole or not at all, and never in place of another folder.

use std::collections::BTreeMap;
use std::path::Path;

use crate::common::{names_in, put, spec};
use roundwise_tensor_file::{
    Checkpoint, Dtype, Manifest, Overwrite, Sharding, TensorFileError, TensorFileErrorKind as Kind,
    TensorFileWriter, UnfinishedFile,
};
use serde_json::json;

const TENSORS: [(&str, u64); 5] = [("a", 600), ("b", 300), ("c", 100), ("d", 5000), ("e", 1)];

fn manifest(limit_bytes: u64) -> Manifest {
    let specs = TENSORS.map(|(name, bytes)| spec(name, Dtype::U8, &[bytes]));
    let metadata = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
    let sharding = Sharding { stem: "model".to_owned(), limit_bytes };
    Manifest::sharded(&metadata, specs.to_vec(), &sharding).unwrap()
}

fn begin(path: &Path, limit_bytes: u64) -> Result<TensorFileWriter, TensorFileError> {
    TensorFileWriter::begin(path, manifest(limit_bytes), Overwrite::Replace, &json!({ "run": 1 }))
}

fn write(writer: &TensorFileWriter, names: &[&str]) {
    for (name, bytes) in TENSORS.iter().filter(|(name, _)| names.contains(name)) {
        writer.write(name, &vec![name.as_bytes()[0]; *bytes as usize]).unwrap();
        writer.record(name, &[(*name).to_owned()], json!(name)).unwrap();
        writer.check(name).unwrap();
    }
}

#[test]
fn shards_are_as_full_as_they_may_be_and_the_index_says_where_all_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let config = put(folder.path(), "config.json", b"{}");
    let mut writer = begin(&path, 1000).unwrap();
    write(&writer, &["e", "d", "c", "b", "a"]);
    writer.copy_beside(&config).unwrap();
    assert!(!path.exists());
    let committed = writer.commit().unwrap();
    let shards = [1, 2, 3].map(|number| format!("model-0000{number}-of-00003.safetensors"));
    let index = "model.safetensors.index.json";
    assert_eq!(
        names_in(&path),
        [&["config.json".to_owned()], &shards[..], &[index.into()]].concat()
    );
    assert_eq!(names_in(folder.path()), ["config.json", "out"]);
    let sizes = names_in(&path).into_iter().map(|name| path.join(name).metadata().unwrap().len());
    assert_eq!(committed.bytes, sizes.sum::<u64>());

    let text = std::fs::read(path.join(index)).unwrap();
    let told: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let [first, second, third] = &shards;
    let weight_map = json!({ "a": first, "b": first, "c": first, "d": second, "e": third });
    assert_eq!(told, json!({ "metadata": { "total_size": 6001 }, "weight_map": weight_map }));
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(checkpoint.metadata()["k"], "v");
    for (name, bytes) in TENSORS {
        let tensor = checkpoint.get(name).unwrap();
        assert_eq!(checkpoint.read(tensor).unwrap(), vec![name.as_bytes()[0]; bytes as usize]);
    }
}

#[test]
fn what_fits_one_file_needs_no_index() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let writer = begin(&path, u64::MAX).unwrap();
    write(&writer, &["a", "b", "c", "d", "e"]);
    writer.commit().unwrap();
    assert_eq!(names_in(&path), ["model.safetensors"]);
    Checkpoint::open(&path).unwrap();
}

#[test]
fn shards_are_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let writer = begin(&path, 1000).unwrap();
    write(&writer, &["a", "d"]);
    assert_eq!(writer.leave().unwrap().unwrap().records, 2);
    assert_eq!(names_in(folder.path()), [".out.journal", ".out.partial"]);
    put(&folder.path().join(".out.partial"), "stray", b"from elsewhere");
    let unfinished = UnfinishedFile::find(&path).unwrap().unwrap();
    let (writer, records) =
        TensorFileWriter::resume(unfinished, manifest(1000), Overwrite::Replace).unwrap();
    assert_eq!(records.len(), 2);
    write(&writer, &["b", "c", "e"]);
    writer.commit().unwrap();
    assert_eq!(names_in(folder.path()), ["out"]);
    assert_eq!(names_in(&path).len(), 4);
    Checkpoint::open(&path).unwrap();
}

#[test]
fn a_folder_that_holds_something_is_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    std::fs::create_dir(&path).unwrap();
    let writer = begin(&path, 1000).unwrap();
    write(&writer, &["a", "b", "c", "d", "e"]);
    put(&path, "mine", b"dear to me");
    let error = writer.commit().unwrap_err();
    assert!(matches!(error.kind(), Kind::FolderNotEmpty), "{error}");
    let error = begin(&path, 1000).unwrap_err();
    assert!(matches!(error.kind(), Kind::FolderNotEmpty), "{error}");
    assert_eq!(names_in(&path), ["mine"]);
    let error = begin(&path.join("mine"), 1000).unwrap_err();
    assert!(matches!(error.kind(), Kind::NotFolder), "{error}");
}

#[test]
fn nothing_is_left_of_a_folder_without_a_record() {
    let folder = tempfile::tempdir().unwrap();
    let writer = begin(&folder.path().join("out"), 1000).unwrap();
    assert_eq!(writer.leave().unwrap(), None);
    assert_eq!(names_in(folder.path()), [] as [&str; 0]);
}

#[test]
fn one_writer_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let writer = begin(&path, 1000).unwrap();
    let error = begin(&path, 1000).unwrap_err();
    assert!(matches!(error.kind(), Kind::Busy), "{error}");
    write(&writer, &["a", "b", "c", "d", "e"]);
    writer.commit().unwrap();
}
