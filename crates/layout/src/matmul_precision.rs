/// How a loader may multiply inputs by a layer in codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MatmulPrecision {
    /// In codes where the device can, so that inputs are quantized as well.
    #[default]
    Any,
    /// In codes, with inputs of 8 bits where the scheme's own are of 4.
    EightBits,
    /// By the decoded weight, with inputs as they are.
    Full,
}
