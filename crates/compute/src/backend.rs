//! The backends of burn that can hold a matrix. Each is a word in one list, and an `impl` of
//! [`Operations`](crate::place::Operations).

use burn_tensor::Tensor;

use crate::{Matrix, place};

/// Hands the names of all backends that are built in to a macro, in front of its arguments.
macro_rules! with_backends {
    ($macro:ident $(, $($arguments:tt)*)?) => {
        $macro! {
            [
                Flex
                NdArray
                #[cfg(feature = "cuda")] Cuda
                #[cfg(feature = "vulkan")] Wgpu
            ]
            $($($arguments)*)?
        }
    };
}

macro_rules! define {
    ([$($(#[$when:meta])* $backend:ident)*]) => {
        /// The tensor that a matrix is, by backend.
        #[derive(Debug, Clone)]
        pub(crate) enum Held {
            $($(#[$when])* $backend(Tensor<place::$backend, 2>),)*
        }

        /// The device that tensors are made on, as its backend names it.
        #[derive(Debug, Clone)]
        pub(crate) enum Handle {
            $($(#[$when])* $backend(burn_tensor::Device<place::$backend>),)*
        }

        impl Handle {
            /// Moves a matrix to the device.
            pub(crate) fn upload(&self, matrix: Matrix) -> Held {
                match self {
                    $($(#[$when])* Self::$backend(device) => {
                        Held::$backend(place::upload(matrix, device))
                    })*
                }
            }
        }
    };
}

with_backends!(define);

/// Evaluates an expression on the tensor of any backend.
macro_rules! on {
    ($held:expr, $tensor:ident => $result:expr) => {
        with_backends!(on_list, $held, $tensor => $result)
    };
}

macro_rules! on_list {
    ([$($(#[$when:meta])* $backend:ident)*] $held:expr, $tensor:ident => $result:expr) => {
        match $held {
            $($(#[$when])* Held::$backend($tensor) => $result,)*
        }
    };
}

/// Evaluates an expression that gives a tensor on one, two or three tensors of any one backend.
macro_rules! map {
    ($($arguments:tt)*) => { with_backends!(map_list, $($arguments)*) };
}

macro_rules! map_list {
    ([$($(#[$when:meta])* $backend:ident)*] $held:expr, $tensor:ident => $result:expr) => {
        match $held {
            $($(#[$when])* Held::$backend($tensor) => Held::$backend($result),)*
        }
    };
    (
        [$($(#[$when:meta])* $backend:ident)*]
        $left:expr, $right:expr, $a:ident, $b:ident => $result:expr
    ) => {
        match ($left, $right) {
            $($(#[$when])* (Held::$backend($a), Held::$backend($b)) => Held::$backend($result),)*
            _ => panic!("two matrices on different devices"),
        }
    };
    (
        [$($(#[$when:meta])* $backend:ident)*]
        $sum:expr, $left:expr, $right:expr, $s:ident, $a:ident, $b:ident => $result:expr
    ) => {
        match ($sum, $left, $right) {
            $($(#[$when])* (Held::$backend($s), Held::$backend($a), Held::$backend($b)) => {
                Held::$backend($result)
            })*
            _ => panic!("three matrices on different devices"),
        }
    };
}
pub(crate) use {map, map_list, on, on_list, with_backends};
