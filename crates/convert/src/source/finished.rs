use roundwise_tensor_file::{Checkpoint, TensorFileError, check_finished};

/// Refuses a model in the middle of being written: as a folder, or any file of it.
///
/// # Errors
/// As [`check_finished`].
pub(crate) fn check_all_finished(checkpoint: &Checkpoint) -> Result<(), TensorFileError> {
    check_finished(checkpoint.path())?;
    checkpoint.files().iter().try_for_each(|file| check_finished(file.path()))
}
