//! Tensor files in by positioned reads, out by positioned writes.
//!
//! The only library of the workspace that opens files. [`Checkpoint`] reads safetensors, files that
//! `torch.save` wrote (without running what is in them) and GGUF, as one file or as shards with an
//! index, and never loads a whole file. [`TensorFileWriter`] writes one file whose every offset is known
//! beforehand, in any order and from any thread, and makes it visible by rename once it is complete and
//! on disk.
//!
//! Nothing a file says is believed: sizes are checked before memory is taken for them, offsets must
//! tile the data exactly, and every refusal names the file, the tensor and the numbers.
//!
//! ```
//! use roundwise_tensor_file::{Checkpoint, Dtype, Manifest, Overwrite, TensorFileWriter, TensorSpec};
//! use std::collections::BTreeMap;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let path = folder.path().join("model.safetensors");
//! let scale = TensorSpec { name: "scale".into(), dtype: Dtype::F32, shape: vec![1] };
//! let manifest = Manifest::new(BTreeMap::new(), vec![scale])?;
//! let writer = TensorFileWriter::create(&path, manifest, Overwrite::Refuse)?;
//! writer.write("scale", &1.0_f32.to_le_bytes())?;
//! writer.commit()?;
//!
//! let checkpoint = Checkpoint::open(&path)?;
//! assert_eq!(checkpoint.read(&checkpoint.tensors()[0])?, 1.0_f32.to_le_bytes());
//! # Ok(())
//! # }
//! ```

mod arrange;
mod blocks;
mod checkpoint;
mod container;
mod disk;
mod dtype;
mod error;
mod gguf;
mod header;
mod journal;
mod locate;
mod lookalike;
mod manifest;
mod metadata_value;
mod no_tensor;
mod numbered_shards;
mod pending;
mod pending_file;
mod pending_folder;
mod pickle;
mod pieces;
mod plain_file;
mod printable;
mod python_json;
mod rank;
mod remark;
mod shard_index;
mod side_files;
mod source_file;
mod state_dict;
mod strided;
mod text;
mod tiling;
mod torch;
mod unfinished;
mod writer;
mod zip;

pub use arrange::{Arranged, RowOrder, Rows};
pub use checkpoint::Checkpoint;
pub use disk::{available_bytes, check_writable, create_folder, is_vacant, name_one_file};
pub use dtype::Dtype;
pub use error::{TensorFileError, TensorFileErrorKind};
pub use gguf::GgufValue;
pub use header::{HEADER_LIMIT_BYTES, RANK_LIMIT, TensorHeader};
pub use journal::Record;
pub use locate::{WEIGHT_ENDINGS, ending_of_weights};
pub use manifest::{Manifest, Sharding, TensorSpec};
pub use pending_file::{Committed, Overwrite};
pub use pieces::{PIECE_BYTES, pieces};
pub use plain_file::PlainFile;
pub use printable::{printable, steers_text};
pub use python_json::{parse_python_json, parse_python_object, print_python_json};
pub use remark::Remark;
pub use source_file::SourceFile;
pub use text::{TEXT_LIMIT_BYTES, read_start, read_text, write_text_atomically};
pub use unfinished::{UnfinishedFile, check_finished, unfinished_files};
pub use writer::{Left, TensorFileWriter};
