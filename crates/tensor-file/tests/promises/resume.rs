//! An unfinished file is continued from its records; a file that differs from them is refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::common::{names_in, put, spec};
use roundwise_tensor_file::{
    Dtype, Manifest, Overwrite, TensorFileErrorKind as Kind, TensorFileWriter, UnfinishedFile,
};
use serde_json::json;
use tempfile::TempDir;

const PARTIAL: &str = ".m.partial";
const JOURNAL: &str = ".m.journal";

fn manifest() -> Manifest {
    let tensors = ["a", "b", "c"].map(|name| spec(name, Dtype::U8, &[1000]));
    Manifest::new(BTreeMap::new(), tensors.to_vec()).unwrap()
}

fn begin(path: &Path) -> TensorFileWriter {
    TensorFileWriter::begin(path, manifest(), Overwrite::Refuse, &json!({ "run": 1 })).unwrap()
}

fn write(writer: &TensorFileWriter, name: &str) {
    writer.write(name, &[name.as_bytes()[0]; 1000]).unwrap();
    writer.record(name, &[name.to_owned()], json!(name)).unwrap();
}

/// A folder with a file of which `a` and `b` are recorded, and its path.
fn unfinished() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m");
    let writer = begin(&path);
    ["a", "b"].iter().for_each(|name| write(&writer, name));
    assert_eq!(writer.leave().unwrap().unwrap().records, 2);
    (folder, path)
}

fn resume(path: &Path) -> Result<Vec<String>, roundwise_tensor_file::TensorFileError> {
    let unfinished = UnfinishedFile::find(path)?.expect("something is unfinished");
    assert_eq!(unfinished.run(), &json!({ "run": 1 }));
    let (writer, records) = TensorFileWriter::resume(unfinished, manifest(), Overwrite::Refuse)?;
    let names: Vec<String> = records.into_iter().map(|record| record.name).collect();
    for name in ["a", "b", "c"].into_iter().filter(|name| !names.iter().any(|n| n == name)) {
        write(&writer, name);
    }
    writer.commit()?;
    Ok(names)
}

fn whole() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m");
    let writer = begin(&path);
    ["c", "a", "b"].iter().for_each(|name| write(&writer, name));
    writer.commit().unwrap();
    assert_eq!(names_in(folder.path()), ["m"]);
    std::fs::read(path).unwrap()
}

#[test]
fn what_is_recorded_is_not_done_again() {
    let (folder, path) = unfinished();
    assert_eq!(names_in(folder.path()), [JOURNAL, PARTIAL]);
    assert_eq!(resume(&path).unwrap(), ["a", "b"]);
    assert_eq!(names_in(folder.path()), ["m"]);
    assert!(std::fs::read(path).unwrap() == whole());
}

#[test]
fn a_journal_cut_anywhere_tells_what_is_whole_in_it() {
    let (folder, path) = unfinished();
    let journal = std::fs::read(folder.path().join(JOURNAL)).unwrap();
    let partial = std::fs::read(folder.path().join(PARTIAL)).unwrap();
    let ends: Vec<usize> =
        (0..journal.len()).filter(|&at| journal[at] == b'\n').map(|at| at + 1).collect();
    for cut in 0..=journal.len() {
        put(folder.path(), JOURNAL, &journal[..cut]);
        put(folder.path(), PARTIAL, &partial);
        let records = ends.iter().filter(|&&end| end <= cut).count().saturating_sub(1);
        if records == 0 {
            assert!(UnfinishedFile::find(&path).unwrap().is_none(), "{cut}");
            continue;
        }
        assert_eq!(resume(&path).unwrap().len(), records, "{cut}");
        assert!(std::fs::read(&path).unwrap() == whole(), "{cut}");
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_changed_file_is_not_gone_on_with() {
    let length = manifest().file_bytes() as usize;
    let changes: [fn(&mut Vec<u8>); 3] = [
        |bytes| {
            let first = bytes.len() - 3000;
            bytes[first] ^= 1;
        },
        |bytes| bytes.truncate(bytes.len() - 1),
        |bytes| bytes.push(0),
    ];
    for change in changes {
        let (folder, path) = unfinished();
        let mut bytes = std::fs::read(folder.path().join(PARTIAL)).unwrap();
        assert_eq!(bytes.len(), length);
        change(&mut bytes);
        put(folder.path(), PARTIAL, &bytes);
        let error = resume(&path).unwrap_err();
        assert!(matches!(error.kind(), Kind::UnfinishedChanged), "{error}");
        assert_eq!(names_in(folder.path()), [JOURNAL, PARTIAL]);
        assert!(std::fs::read(folder.path().join(PARTIAL)).unwrap() == bytes, "nothing is lost");
    }
}

#[test]
fn the_rest_of_the_unfinished_file_may_hold_anything() {
    let (folder, path) = unfinished();
    let mut bytes = std::fs::read(folder.path().join(PARTIAL)).unwrap();
    let length = bytes.len();
    // The header, and tensor `c`, which was not recorded.
    bytes[..20].fill(7);
    bytes[length - 1000..].fill(7);
    put(folder.path(), PARTIAL, &bytes);
    resume(&path).unwrap();
    assert!(std::fs::read(path).unwrap() == whole());
}

#[test]
fn beginning_anew_forgets_what_was_there() {
    let (folder, path) = unfinished();
    let writer = begin(&path);
    assert!(UnfinishedFile::find(&path).unwrap().is_none());
    assert!(writer.commit().is_err(), "nothing was written");
    assert_eq!(names_in(folder.path()), [JOURNAL, PARTIAL]);
}

#[test]
fn two_cannot_write_one_file() {
    let (_folder, path) = unfinished();
    let found = || UnfinishedFile::find(&path).unwrap().unwrap();
    let first = TensorFileWriter::resume(found(), manifest(), Overwrite::Refuse).unwrap();
    let second = TensorFileWriter::resume(found(), manifest(), Overwrite::Refuse).unwrap_err();
    assert!(matches!(second.kind(), Kind::Busy), "{second}");
    let run = json!(null);
    let third = TensorFileWriter::begin(&path, manifest(), Overwrite::Refuse, &run).unwrap_err();
    assert!(matches!(third.kind(), Kind::Busy), "{third}");
    drop(first);
    resume(&path).unwrap();
}

#[test]
fn nothing_recorded_is_nothing_left() {
    let folder = tempfile::tempdir().unwrap();
    let writer = begin(&folder.path().join("m"));
    writer.write("a", &[1; 1000]).unwrap();
    assert_eq!(writer.leave().unwrap(), None);
    assert!(names_in(folder.path()).is_empty());
}

#[test]
fn only_whole_tensors_are_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let writer = begin(&folder.path().join("m"));
    writer.write_part("a", 0, &[1; 999]).unwrap();
    let error = writer.record("a", &["a".to_owned()], json!(null)).unwrap_err();
    assert!(matches!(error.kind(), Kind::Incomplete { missing_bytes: 1, .. }), "{error}");
    // Parts in any order make a whole.
    writer.write_part("b", 500, &[b'b'; 500]).unwrap();
    writer.write_part("b", 0, &[b'b'; 500]).unwrap();
    writer.record("b", &["b".to_owned()], json!(null)).unwrap();
    writer.leave().unwrap();
    assert_eq!(resume(&folder.path().join("m")).unwrap(), ["b"]);
    assert!(std::fs::read(folder.path().join("m")).unwrap() == whole());
}

#[test]
fn bytes_that_changed_after_they_were_written_are_found() {
    let (folder, path) = unfinished();
    let unfinished = UnfinishedFile::find(&path).unwrap().unwrap();
    let (writer, _) = TensorFileWriter::resume(unfinished, manifest(), Overwrite::Refuse).unwrap();
    write(&writer, "c");
    for name in ["a", "b", "c"] {
        writer.check(name).unwrap();
    }
    writer.check_header(&manifest()).unwrap();
    let partial = folder.path().join(PARTIAL);
    let mut bytes = std::fs::read(&partial).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    bytes[9] ^= 1;
    std::fs::write(&partial, bytes).unwrap();
    for result in [writer.check("c"), writer.check_header(&manifest())] {
        assert!(matches!(result.unwrap_err().kind(), Kind::Damaged));
    }
    writer.check("a").unwrap();
}

#[cfg(unix)]
#[test]
fn a_link_in_the_place_of_the_unfinished_file_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let precious = put(folder.path(), "precious", "mine");
    std::os::unix::fs::symlink(&precious, folder.path().join(PARTIAL)).unwrap();
    let path = folder.path().join("m");
    let run = json!(null);
    let error = TensorFileWriter::begin(&path, manifest(), Overwrite::Refuse, &run).unwrap_err();
    assert!(matches!(error.kind(), Kind::NotRegularFile { .. }), "{error}");
    assert_eq!(std::fs::read(precious).unwrap(), b"mine");
}
