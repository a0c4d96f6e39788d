//! Tensor files in by positioned reads, out by positioned writes
