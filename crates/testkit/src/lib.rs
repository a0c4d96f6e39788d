//! Weight generators, small tensor files and byte comparisons for tests
