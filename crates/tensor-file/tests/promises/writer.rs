//! A file is whole or absent; a failed run leaves the folder as it was.

use std::collections::BTreeMap;
use std::path::Path;

use crate::common::{names_in, put, spec, two_tensors};
use roundwise_tensor_file::{
    Checkpoint, Dtype, Manifest, Overwrite, TensorFileError, TensorFileErrorKind as Kind,
    TensorFileWriter, TensorSpec,
};

const NAME: &str = "model.safetensors";

fn manifest(tensors: &[TensorSpec]) -> Result<Manifest, TensorFileError> {
    Manifest::new(BTreeMap::new(), tensors.to_vec())
}

/// A writer for F32 `w` [2].
fn writer(path: &Path, overwrite: Overwrite) -> Result<TensorFileWriter, TensorFileError> {
    TensorFileWriter::create(path, manifest(&[spec("w", Dtype::F32, &[2])]).unwrap(), overwrite)
}

macro_rules! refused {
    ($result:expr, $kind:pat) => {{
        let error = $result.expect_err("should be refused");
        assert!(matches!(error.kind(), $kind), "{error:?}");
        error
    }};
}

#[test]
fn a_dropped_writer_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let unfinished = writer(&folder.path().join(NAME), Overwrite::Refuse).unwrap();
    unfinished.write("w", &[1; 8]).unwrap();
    assert_eq!(names_in(folder.path()).len(), 1);
    assert!(!folder.path().join(NAME).exists());
    drop(unfinished);
    assert!(names_in(folder.path()).is_empty());
}

#[test]
fn an_existing_file_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = put(folder.path(), NAME, "precious");
    refused!(writer(&path, Overwrite::Refuse), Kind::Exists);
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    assert_eq!(names_in(folder.path()), [NAME]);
}

#[test]
fn a_file_that_appears_meanwhile_is_refused_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(NAME);
    let writer = writer(&path, Overwrite::Refuse).unwrap();
    writer.write("w", &[1; 8]).unwrap();
    put(folder.path(), NAME, "precious");
    refused!(writer.commit(), Kind::Exists);
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    assert_eq!(names_in(folder.path()), [NAME]);
}

#[test]
fn the_old_file_stays_until_commit() {
    let folder = tempfile::tempdir().unwrap();
    let path = put(folder.path(), NAME, two_tensors());
    let old = Checkpoint::open(&path).unwrap();
    let writer = writer(&path, Overwrite::Replace).unwrap();
    writer.write("w", &[1; 8]).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), two_tensors());
    let committed = writer.commit().unwrap();

    assert_eq!(names_in(folder.path()), [NAME]);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), committed.bytes);
    let new = Checkpoint::open(&path).unwrap();
    assert_eq!(new.read(new.get("w").unwrap()).unwrap(), [1; 8]);
    // Who had the old file open still reads the old file.
    assert_eq!(old.read(old.get("b").unwrap()).unwrap(), [33, 34, 35]);
}

#[cfg(unix)]
#[test]
fn permissions_are_those_of_any_new_file() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(NAME);
    let writer = writer(&path, Overwrite::Refuse).unwrap();
    writer.write("w", &[1; 8]).unwrap();
    writer.commit().unwrap();
    let plain = put(folder.path(), "plain", "");
    assert_eq!(mode(&path), mode(&plain));
}

#[cfg(unix)]
#[test]
fn only_regular_files_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    refused!(writer("/dev/null".as_ref(), Overwrite::Replace), Kind::NotRegularFile { .. });
    refused!(writer(folder.path(), Overwrite::Replace), Kind::NotRegularFile { .. });
    let target = put(folder.path(), "target", "precious");
    let link = folder.path().join(NAME);
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let writer = writer(&link, Overwrite::Replace).unwrap();
    writer.write("w", &[1; 8]).unwrap();
    writer.commit().unwrap();
    assert!(link.symlink_metadata().unwrap().is_file(), "the link is replaced, not followed");
    assert_eq!(std::fs::read(&target).unwrap(), b"precious");
}

#[test]
fn an_unwritten_byte_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let tensors =
        [spec("a", Dtype::F32, &[2]), spec("b", Dtype::U8, &[3]), spec("none", Dtype::U8, &[0])];
    let create = || {
        let path = folder.path().join(NAME);
        TensorFileWriter::create(&path, manifest(&tensors).unwrap(), Overwrite::Refuse).unwrap()
    };
    let writer = create();
    writer.write_part("a", 0, &[1; 4]).unwrap();
    writer.write_part("a", 5, &[1; 3]).unwrap();
    let error = refused!(writer.commit(), Kind::Incomplete { tensors: 2, missing_bytes: 4 });
    assert_eq!(error.tensor(), Some("a"));
    assert!(names_in(folder.path()).is_empty());

    let writer = create();
    writer.write_part("a", 0, &[1; 5]).unwrap();
    writer.write_part("a", 3, &[1; 5]).unwrap();
    writer.write("b", &[1; 3]).unwrap();
    writer.commit().unwrap();
}

#[test]
fn writes_must_fit_the_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let writer = writer(&folder.path().join(NAME), Overwrite::Refuse).unwrap();
    refused!(writer.write("v", &[0; 8]), Kind::UnknownTensor);
    refused!(writer.write("w", &[0; 7]), Kind::WrongLength { found: 7, expected: 8, .. });
    refused!(writer.write_part("w", 1, &[0; 8]), Kind::PartOutOfRange { tensor_bytes: 8, .. });
    refused!(writer.write_part("w", u64::MAX, &[0; 8]), Kind::PartOutOfRange { .. });
}

#[test]
fn impossible_manifests_are_refused() {
    let f32 = |name, shape: &[u64]| spec(name, Dtype::F32, shape);
    refused!(manifest(&[f32("w", &[1]), f32("w", &[2])]), Kind::DuplicateTensor);
    let two_types = [f32("w", &[1]), spec("w", Dtype::U8, &[1])];
    refused!(manifest(&two_types), Kind::DuplicateTensor);
    refused!(manifest(&[f32("__metadata__", &[1])]), Kind::ReservedName);
    refused!(manifest(&[f32("w", &[1 << 32, 1 << 32])]), Kind::ShapeOverflow { .. });
    refused!(manifest(&[spec("w", Dtype::F4, &[3])]), Kind::FractionalBytes { .. });
    refused!(manifest(&[f32("w", &[1; 65])]), Kind::TooManyDimensions { .. });
    let half = 1 << 58;
    refused!(
        manifest(&["a", "b", "c", "d", "e", "f", "g", "h"].map(|name| f32(name, &[half]))),
        Kind::FileTooLong
    );
    let long = BTreeMap::from([("k".to_owned(), "v".repeat(100_000_000))]);
    refused!(Manifest::new(long, vec![]), Kind::HeaderTooLong { .. });
}

#[test]
fn a_file_without_tensors_is_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(NAME);
    let writer =
        TensorFileWriter::create(&path, manifest(&[]).unwrap(), Overwrite::Refuse).unwrap();
    assert_eq!(writer.commit().unwrap().bytes, 16);
    assert!(Checkpoint::open(&path).unwrap().tensors().is_empty());
}

#[test]
fn places_are_known_before_anything_is_written() {
    let manifest = manifest(&[spec("b", Dtype::U8, &[3]), spec("a", Dtype::F32, &[2])]).unwrap();
    let names: Vec<_> = manifest.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let data = 8 + manifest.header_bytes().len() as u64;
    assert_eq!(manifest.file_bytes(), data + 11);
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("no/such/folder").join(NAME);
    refused!(writer(&missing, Overwrite::Refuse), Kind::Io { .. });
    // `/proc` refuses new files even to root, who may write into any read-only folder.
    if cfg!(target_os = "linux") {
        refused!(writer(&Path::new("/proc").join(NAME), Overwrite::Refuse), Kind::Io { .. });
    }
}

#[test]
fn a_file_larger_than_the_disk_is_refused_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(NAME);
    let Some(left) = roundwise_tensor_file::available_bytes(&path) else { return };
    let huge = manifest(&[spec("w", Dtype::U8, &[1 << 60])]).unwrap();
    let file_bytes = huge.file_bytes();
    let error = TensorFileWriter::create(&path, huge, Overwrite::Refuse).expect_err("too large");
    let Kind::DiskFull { needed, available } = *error.kind() else { panic!("{error:?}") };
    assert_eq!(needed, file_bytes);
    // Other programs use the disk too, so the two looks at it differ a little.
    assert!(available.abs_diff(left) < left / 2, "{available} {left}");
    assert!(names_in(folder.path()).is_empty());
}

#[test]
fn long_names_leave_room_for_the_temporary_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("é".repeat(127));
    let writer = writer(&path, Overwrite::Refuse).unwrap();
    writer.write("w", &[1; 8]).unwrap();
    writer.commit().unwrap();
    assert!(path.exists());
}
