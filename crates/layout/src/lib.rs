//! Tensor names, packing and markers of each consumer
