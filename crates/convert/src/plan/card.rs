use roundwise_layout::Layout;
use roundwise_scheme::{GridKind, Scheme, Tiling};

/// A generation of cards, by what it multiplies fast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Card {
    /// Turing.
    Rtx20,
    /// Ampere.
    Rtx30,
    /// Ada.
    Rtx40,
    /// Blackwell.
    Rtx50,
    /// Any of them.
    #[default]
    Any,
}

impl Card {
    /// Every card by its name.
    pub const NAMES: [(&str, Self); 5] = [
        ("rtx20", Self::Rtx20),
        ("rtx30", Self::Rtx30),
        ("rtx40", Self::Rtx40),
        ("rtx50", Self::Rtx50),
        ("any", Self::Any),
    ];

    /// Returns the schemes that a budget chooses among: those that the card multiplies fast in the layout's
    /// program, and BF16.
    ///
    /// INT8 and INT4, rotated or in groups, are fast on all of them, FP8 from Ada on, MXFP8 and NVFP4 on
    /// Blackwell.
    pub fn schemes(self, layout: Layout) -> Vec<Scheme> {
        let has_fp8 = matches!(self, Self::Rtx40 | Self::Rtx50);
        let has_blocks = self == Self::Rtx50;
        let named = |name: &str| name.parse().expect("a scheme of the catalogue");
        // ComfyUI takes an FP8 layer with one scale only; servers read one for each row. Its 4- and
        // 8-bit integers are rotated, those of servers have a scale for 128 columns.
        let (everywhere, fp8) = match layout.is_for_servers() {
            true => (["int4-group-128", "int8-group-128"], Tiling::Row),
            false => (["int4-convrot", "int8-row-convrot"], Tiling::Tensor),
        };
        everywhere
            .map(named)
            .into_iter()
            .chain(has_fp8.then_some(Scheme::scaled(GridKind::E4m3, fp8)))
            .chain([Scheme::NVFP4, Scheme::MXFP8].into_iter().filter(|_| has_blocks))
            .chain([named("bf16")])
            .collect()
    }
}
