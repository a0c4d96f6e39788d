use std::fmt;

use roundwise_grid::GridKind;

use crate::rotation::Rotation;
use crate::scheme::Scheme;
use crate::tiling::Tiling;

/// Schemes that differ in one number, which is part of the name.
#[derive(Clone, Copy, Debug)]
pub struct SchemeFamily {
    /// Start of the name, before the number.
    pub prefix: &'static str,
    /// End of the name, behind the number.
    pub suffix: &'static str,
    /// The meaning of the number.
    pub number: FamilyNumber,
    /// Returns the scheme of a number above 0, `None` for a number that stands for none.
    scheme: fn(usize) -> Option<Scheme>,
}

/// The meaning of the number in a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyNumber {
    /// Rows of a block, and columns.
    BlockEdge,
    /// Neighbouring weights of a row.
    RowGroup,
    /// Columns of the largest rotated group, a power of 4.
    Rotation,
}

/// Every family. Where two have a name for one scheme, the first gives the name.
pub const FAMILIES: &[SchemeFamily] = &[
    blocks("fp8-block-", "", |size| Some(Scheme::scaled(GridKind::E4m3, Tiling::square(size)))),
    blocks("fp8-block-", "-pow2", |size| {
        Some(Scheme::scaled_by_powers(GridKind::E4m3, Tiling::square(size)))
    }),
    blocks("int8-block-", "", |size| Some(Scheme::scaled(GridKind::Int8, Tiling::square(size)))),
    groups("fp8-block3d-", |size| group(GridKind::E4m3, size)),
    groups("int4-group-", |size| group(GridKind::Int4, size)),
    groups("int8-group-", |size| group(GridKind::Int8, size)),
    SchemeFamily {
        prefix: "int4-group-",
        suffix: "-asym",
        number: FamilyNumber::RowGroup,
        scheme: |size| (size > 1).then_some(Scheme::with_zero_points(size)),
    },
    rotations("int8-row-convrot-", |most| rotated_rows(GridKind::Int8, most)),
    rotations("int4-convrot-", |most| rotated_rows(GridKind::Int4, most)),
    rotations("int4-asym-", |most| Rotation::up_to(most).map(Scheme::leveled)),
];

const fn blocks(
    prefix: &'static str,
    suffix: &'static str,
    scheme: fn(usize) -> Option<Scheme>,
) -> SchemeFamily {
    SchemeFamily { prefix, suffix, number: FamilyNumber::BlockEdge, scheme }
}

const fn groups(prefix: &'static str, scheme: fn(usize) -> Option<Scheme>) -> SchemeFamily {
    SchemeFamily { prefix, suffix: "", number: FamilyNumber::RowGroup, scheme }
}

/// Returns the scheme of groups of a row. A block of one weight is square as well.
fn group(grid: GridKind, size: usize) -> Option<Scheme> {
    (size > 1).then_some(Scheme::scaled(grid, Tiling::group(size)))
}

const fn rotations(prefix: &'static str, scheme: fn(usize) -> Option<Scheme>) -> SchemeFamily {
    SchemeFamily { prefix, suffix: "", number: FamilyNumber::Rotation, scheme }
}

fn rotated_rows(grid: GridKind, most: usize) -> Option<Scheme> {
    Some(Scheme::rotated(grid, Tiling::Row, Rotation::up_to(most)?))
}

/// Largest number that a name may hold.
pub(crate) const MAX_NUMBER: usize = 65_536;

impl SchemeFamily {
    /// Returns a name of the family, with any text in the place of the number.
    pub fn name(&self, number: impl fmt::Display) -> String {
        format!("{}{number}{}", self.prefix, self.suffix)
    }

    /// Returns the scheme of a name, `None` for a name of another family.
    pub(crate) fn parse(&self, name: &str) -> Option<Scheme> {
        // An empty suffix strips nothing, so `fp8-block-64-pow2` does not parse as a number here
        // and goes to the next family.
        let number = name.strip_prefix(self.prefix)?.strip_suffix(self.suffix)?.parse().ok()?;
        (1..=MAX_NUMBER).contains(&number).then(|| (self.scheme)(number))?
    }

    /// Returns the name of a scheme of the family, `None` for any other scheme.
    pub(crate) fn name_of(&self, scheme: Scheme) -> Option<String> {
        let number = match (self.number, scheme.tiling(), scheme.rotation()) {
            (FamilyNumber::Rotation, _, Some(rotation)) => rotation.most(),
            (FamilyNumber::BlockEdge | FamilyNumber::RowGroup, Tiling::Block { cols, .. }, _) => {
                cols
            }
            _ => return None,
        };
        // Made again and compared: another tiling or grid may have the same number.
        ((self.scheme)(number) == Some(scheme)).then(|| self.name(number))
    }
}
