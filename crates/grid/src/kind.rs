use crate::{Bf16, E2m1, E4m3, E5m2, F16, Grid, Int4, Int8};

/// A grid as a value, for recipes and plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GridKind {
    /// 4-bit float with 1 mantissa bit, ±6.
    E2m1,
    /// 8-bit float with 3 mantissa bits and no infinities, ±448.
    E4m3,
    /// 8-bit float with 2 mantissa bits, ±57344.
    E5m2,
    /// Whole numbers from −7 to 7, two's complement.
    Int4,
    /// Whole numbers from −127 to 127, two's complement.
    Int8,
    /// IEEE binary16, ±65504.
    F16,
    /// The upper half of IEEE binary32.
    Bf16,
}

/// Something to do for a grid whose type is not known yet; see [`GridKind::visit`].
pub trait GridVisitor {
    /// The result of [`visit`](GridVisitor::visit).
    type Output;

    /// Does the work for a grid. Called once, with its type.
    fn visit<G: Grid>(self) -> Self::Output;
}

impl GridKind {
    /// All kinds, in declaration order.
    pub const ALL: [GridKind; 7] = [
        GridKind::E2m1,
        GridKind::E4m3,
        GridKind::E5m2,
        GridKind::Int4,
        GridKind::Int8,
        GridKind::F16,
        GridKind::Bf16,
    ];

    /// Returns the lower-case name, as in recipes: `e2m1`, `e4m3`, `e5m2`, `int4`, `int8`, `f16`,
    /// `bf16`.
    pub const fn name(self) -> &'static str {
        match self {
            GridKind::E2m1 => "e2m1",
            GridKind::E4m3 => "e4m3",
            GridKind::E5m2 => "e5m2",
            GridKind::Int4 => "int4",
            GridKind::Int8 => "int8",
            GridKind::F16 => "f16",
            GridKind::Bf16 => "bf16",
        }
    }

    /// Returns the bits of one code in a file: 4, 8 or 16.
    pub const fn code_bits(self) -> usize {
        match self {
            GridKind::E2m1 | GridKind::Int4 => 4,
            GridKind::E4m3 | GridKind::E5m2 | GridKind::Int8 => 8,
            GridKind::F16 | GridKind::Bf16 => 16,
        }
    }

    /// Returns the bytes of one code in memory, where 4-bit codes have a byte each: 1 or 2.
    pub const fn code_bytes(self) -> usize {
        self.code_bits().div_ceil(8)
    }

    /// Returns the largest magnitude, [`Grid::MAX`].
    pub const fn max(self) -> f32 {
        match self {
            GridKind::E2m1 => E2m1::MAX,
            GridKind::E4m3 => E4m3::MAX,
            GridKind::E5m2 => E5m2::MAX,
            GridKind::Int4 => Int4::MAX,
            GridKind::Int8 => Int8::MAX,
            GridKind::F16 => F16::MAX,
            GridKind::Bf16 => Bf16::MAX,
        }
    }

    /// Runs a generic visitor for the grid of this kind: the one place where kinds become types.
    ///
    /// ```
    /// use roundwise_grid::{Grid, GridKind, GridVisitor};
    ///
    /// struct Nearest(f32);
    /// impl GridVisitor for Nearest {
    ///     type Output = f32;
    ///     fn visit<G: Grid>(self) -> f32 {
    ///         G::round(self.0)
    ///     }
    /// }
    /// assert_eq!(GridKind::E4m3.visit(Nearest(1.07)), 1.125);
    /// assert_eq!(GridKind::Int8.visit(Nearest(1.07)), 1.0);
    /// ```
    pub fn visit<V: GridVisitor>(self, visitor: V) -> V::Output {
        match self {
            GridKind::E2m1 => visitor.visit::<E2m1>(),
            GridKind::E4m3 => visitor.visit::<E4m3>(),
            GridKind::E5m2 => visitor.visit::<E5m2>(),
            GridKind::Int4 => visitor.visit::<Int4>(),
            GridKind::Int8 => visitor.visit::<Int8>(),
            GridKind::F16 => visitor.visit::<F16>(),
            GridKind::Bf16 => visitor.visit::<Bf16>(),
        }
    }
}
