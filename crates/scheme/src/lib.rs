//! Matrices as codes and scales: grids, tilings, scale rules
