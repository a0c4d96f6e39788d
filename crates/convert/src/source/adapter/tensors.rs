//! The tensors of an adapter's file, with codes that are decoded.

use std::path::Path;

use roundwise_layout::StoredLayers;
use roundwise_tensor_file::{Checkpoint, TensorHeader};

use crate::error::ConvertError;
use crate::source::finished::check_all_finished;

/// The tensors of an adapter's file. It is no [`Source`](crate::source::Source), to which adapters are added.
#[derive(Debug)]
pub(super) struct AdapterTensors {
    pub(super) checkpoint: Checkpoint,
    pub(super) stored: StoredLayers,
}

impl AdapterTensors {
    /// Opens a file, or one that an index names, and reads headers and markers only.
    ///
    /// # Errors
    /// [`ConvertError::File`] when something is wrong with the file, [`ConvertError::Misfit`] when it holds codes
    /// that are not understood.
    pub(super) fn open(path: &Path) -> Result<Self, ConvertError> {
        let checkpoint = Checkpoint::open(path)?;
        check_all_finished(&checkpoint)?;
        let stored = StoredLayers::find(&checkpoint)?;
        let misfit = |problem: String| Err(ConvertError::misfit(path, problem));
        if let Some(defect) = stored.defects.first() {
            return misfit(format!("`{}` {}", defect.layer, defect.problem));
        }
        match stored.foreign.iter().next() {
            None => Ok(Self { checkpoint, stored }),
            Some((layer, foreign)) => misfit(format!(
                "`{layer}` holds codes of {}, which are not read in adapters; that program can save them as plain \
                 numbers",
                foreign.program.name
            )),
        }
    }

    /// Returns whether the tensor holds codes.
    pub(super) fn is_in_codes(&self, header: &TensorHeader) -> bool {
        self.stored.layer_of(header).is_some()
    }

    /// Returns the shape of the numbers that a tensor stands for, which is not its own where codes are packed.
    pub(super) fn shape_of(&self, header: &TensorHeader) -> Vec<u64> {
        let stored = self.stored.layer_of(header);
        stored.map_or_else(|| header.shape.clone(), |stored| stored.shape_of(header))
    }

    /// Returns the numbers of a tensor in codes, `None` of any other.
    ///
    /// # Errors
    /// [`ConvertError::Layout`] when codes or scales cannot be read.
    pub(super) fn decoded(&self, header: &TensorHeader) -> Result<Option<Vec<f32>>, ConvertError> {
        let Some(stored) = self.stored.layer_of(header) else { return Ok(None) };
        let matrix = stored.read(&self.checkpoint).map_err(|source| ConvertError::Layout {
            path: self.checkpoint.path().to_owned(),
            source,
        })?;
        Ok(Some(matrix.to_f32()))
    }
}
