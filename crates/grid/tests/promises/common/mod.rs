//! The definition of a grid, written down slowly: a sorted table of values and their codes.

use roundwise_grid::{Grid, GridKind, GridVisitor};

/// Codes that are tried for every grid: all of them, as whole numbers.
pub(crate) trait AnyCode: Copy {
    fn all() -> Vec<Self>;
    fn number(self) -> u32;
}

impl AnyCode for u8 {
    fn all() -> Vec<u8> {
        (0..=u8::MAX).collect()
    }
    fn number(self) -> u32 {
        self.into()
    }
}

impl AnyCode for u16 {
    fn all() -> Vec<u16> {
        (0..=u16::MAX).collect()
    }
    fn number(self) -> u32 {
        self.into()
    }
}

/// One value that can be stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) value: f32,
    pub(crate) code: u32,
}

/// The values of `G` in ascending order, −0 left out, with their codes.
pub(crate) fn table<G: Grid<Code: AnyCode>>() -> Vec<Entry> {
    let codes = G::Code::all().into_iter().filter(|code| G::is_finite_code(*code));
    let entries = codes.map(|code| Entry { value: G::decode(code), code: code.number() });
    let mut table: Vec<Entry> =
        entries.filter(|entry| entry.value != 0.0 || entry.code == 0).collect();
    table.sort_by(|a, b| a.value.total_cmp(&b.value));
    table
}

/// The nearest entry; of two that are equally near the one with the even code. Differences in f64
/// are exact here but for f32 values far below the grid's smallest step, whose order they keep.
pub(crate) fn nearest(table: &[Entry], value: f32) -> Entry {
    let upper = table.partition_point(|entry| entry.value < value);
    if upper == 0 {
        return table[0];
    }
    let Some(&above) = table.get(upper) else { return table[upper - 1] };
    let below = table[upper - 1];
    let up = f64::from(above.value) - f64::from(value);
    let down = f64::from(value) - f64::from(below.value);
    match up.total_cmp(&down) {
        std::cmp::Ordering::Less => above,
        std::cmp::Ordering::Greater => below,
        std::cmp::Ordering::Equal if above.code % 2 == 0 => above,
        std::cmp::Ordering::Equal => below,
    }
}

/// A check for a grid whose codes can be listed.
pub(crate) trait Check {
    fn check<G: Grid<Code: AnyCode>>(&self);
}

/// Runs the check for all seven grids.
pub(crate) fn for_every_grid(check: &impl Check) {
    check.check::<roundwise_grid::E2m1>();
    check.check::<roundwise_grid::E4m3>();
    check.check::<roundwise_grid::E5m2>();
    check.check::<roundwise_grid::Int4>();
    check.check::<roundwise_grid::Int8>();
    check.check::<roundwise_grid::F16>();
    check.check::<roundwise_grid::Bf16>();
}

/// All finite BF16 values, and the f32 next to every value of the grid and every midpoint between
/// two, on both sides.
pub(crate) fn interesting_values<G: Grid<Code: AnyCode>>() -> Vec<f32> {
    let mut values: Vec<f32> =
        (0..=u16::MAX).map(|bits| f32::from_bits(u32::from(bits) << 16)).collect();
    let table = table::<G>();
    for entry in &table {
        values.extend([entry.value.next_down(), entry.value, entry.value.next_up()]);
    }
    for pair in table.windows(2) {
        let middle = (f64::midpoint(pair[0].value.into(), pair[1].value.into())) as f32;
        values.extend([middle.next_down(), middle, middle.next_up()]);
    }
    values.extend([f32::MAX, f32::MIN, f32::MIN_POSITIVE, -f32::MIN_POSITIVE, 1e-45, -1e-45]);
    values.retain(|value| value.is_finite());
    values
}

struct KindName;
impl GridVisitor for KindName {
    type Output = GridKind;
    fn visit<G: Grid>(self) -> GridKind {
        G::KIND
    }
}

/// Returns the kind that a visitor sees for `kind`, which has to be the same.
pub(crate) fn visited(kind: GridKind) -> GridKind {
    kind.visit(KindName)
}
