//! A path means one thing, or the error says why not.

use crate::common::{put, two_tensors};
use roundwise_tensor_file::{
    Checkpoint, Overwrite, SourceFile, TEXT_LIMIT_BYTES, TensorFileErrorKind as Kind,
    available_bytes, read_text, write_text_atomically,
};
use std::error::Error;

macro_rules! refused {
    ($path:expr, $kind:pat) => {{
        let error = Checkpoint::open($path).expect_err("not a checkpoint");
        assert!(matches!(error.kind(), $kind), "{error:?}");
        error
    }};
}

#[test]
fn a_folder_with_one_file_is_that_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = put(folder.path(), "model.safetensors", two_tensors());
    put(folder.path(), ".model.safetensors.x.partial", "unfinished");
    put(folder.path(), ".hidden.safetensors", "hidden");
    put(folder.path(), "pytorch_model.bin.index.json", "{}");
    put(folder.path(), "config.json", "{}");
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert!(checkpoint.files().iter().map(SourceFile::path).eq([file.as_path()]));
    assert_eq!(checkpoint.metadata()["format"], "pt");
}

#[test]
fn a_folder_that_could_mean_several_things_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    refused!(folder.path(), Kind::FolderWithoutTensors);
    put(folder.path(), "a.safetensors", two_tensors());
    put(folder.path(), "b.safetensors", two_tensors());
    let error = refused!(folder.path(), Kind::FolderAmbiguous { found: 2, .. });
    assert!(error.to_string().contains("a.safetensors, b.safetensors\n  name the file"), "{error}");
    put(folder.path(), "a.safetensors.index.json", "{}");
    put(folder.path(), "b.safetensors.index.json", "{}");
    refused!(folder.path(), Kind::FolderAmbiguous { found: 2, .. });
}

#[test]
fn a_missing_file_keeps_its_cause() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing.safetensors");
    let error = refused!(&path, Kind::Io { .. });
    assert_eq!(error.path(), path);
    let source = error.source().unwrap().downcast_ref::<std::io::Error>().unwrap();
    assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
    assert!(error.to_string().contains("cannot open: No such file"), "{error}");
}

#[cfg(unix)]
#[test]
fn only_regular_files_are_opened() {
    let folder = tempfile::tempdir().unwrap();
    refused!("/dev/zero".as_ref(), Kind::NotRegularFile { .. });
    let pipe = folder.path().join("pipe.safetensors");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    refused!(&pipe, Kind::NotRegularFile { .. });
    refused!(folder.path(), Kind::NotRegularFile { .. });
    let around = folder.path().join("loop.safetensors");
    std::os::unix::fs::symlink(&around, &around).unwrap();
    refused!(&around, Kind::Io { .. });
    assert!(matches!(read_text(&pipe).unwrap_err().kind(), Kind::NotRegularFile { .. }));
    let error = write_text_atomically("/dev/null".as_ref(), "", Overwrite::Replace).unwrap_err();
    assert!(matches!(error.kind(), Kind::NotRegularFile { .. }));
}

#[cfg(unix)]
#[test]
fn the_input_is_recognised_through_links() {
    let folder = tempfile::tempdir().unwrap();
    let file = put(folder.path(), "model.safetensors", two_tensors());
    let other = put(folder.path(), "copy.safetensors", two_tensors());
    let (soft, hard) = (folder.path().join("soft"), folder.path().join("hard"));
    std::os::unix::fs::symlink(&file, &soft).unwrap();
    std::fs::hard_link(&file, &hard).unwrap();
    let checkpoint = Checkpoint::open(&file).unwrap();
    for same in [&file, &soft, &hard] {
        assert!(checkpoint.same_file_as(same), "{same:?}");
    }
    assert!(!checkpoint.same_file_as(&other));
    assert!(!checkpoint.same_file_as(&folder.path().join("missing")));
}

#[test]
fn a_part_must_lie_inside_its_tensor() {
    let folder = tempfile::tempdir().unwrap();
    let file = put(folder.path(), "model.safetensors", two_tensors());
    let checkpoint = Checkpoint::open(&file).unwrap();
    let tensor = checkpoint.get("b").unwrap();
    assert_eq!((tensor.byte_len(), tensor.element_count()), (3, 3));
    let mut part = [0; 2];
    checkpoint.read_into(tensor, 1, &mut part).unwrap();
    assert_eq!(part, [34, 35]);
    for offset in [2, u64::MAX] {
        let error = checkpoint.read_into(tensor, offset, &mut part).unwrap_err();
        assert!(matches!(error.kind(), Kind::PartOutOfRange { tensor_bytes: 3, .. }));
    }
}

#[test]
fn texts_come_back_and_are_limited() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    write_text_atomically(&path, "grün", Overwrite::Refuse).unwrap();
    assert_eq!(read_text(&path).unwrap(), "grün");
    let error = write_text_atomically(&path, "", Overwrite::Refuse).unwrap_err();
    assert!(matches!(error.kind(), Kind::Exists));
    write_text_atomically(&path, "new", Overwrite::Replace).unwrap();
    assert_eq!(read_text(&path).unwrap(), "new");

    put(folder.path(), "latin", b"gr\xfcn");
    let error = read_text(&folder.path().join("latin")).unwrap_err();
    assert!(matches!(error.kind(), Kind::TextUtf8 { .. }));
    let long = put(folder.path(), "long", vec![b' '; TEXT_LIMIT_BYTES as usize + 1]);
    assert!(matches!(read_text(&long).unwrap_err().kind(), Kind::TextTooLong { .. }));
}

#[test]
fn free_space_is_known_before_the_file_exists() {
    let folder = tempfile::tempdir().unwrap();
    assert!(available_bytes(&folder.path().join("model.safetensors")).is_some());
    assert!(available_bytes(folder.path()).is_some());
    assert!(available_bytes(&folder.path().join("no/such/folder/file")).is_some());
}

/// Two trainings of one model have one length, and programs that copy set the time to what it was.
#[test]
fn files_of_one_length_and_time_are_told_apart_by_their_contents() {
    let folder = tempfile::tempdir().unwrap();
    let fingerprint = |path: &std::path::Path| {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        Checkpoint::open(path).unwrap().files()[0].fingerprint()
    };
    let path = put(folder.path(), "model.safetensors", two_tensors());
    let before = fingerprint(&path);
    assert_eq!(fingerprint(&path), before);
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert_ne!(fingerprint(&path), before);
}
