use crate::recipe::plain_dtype::PlainDtype;

/// The purpose of a recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Weights become codes.
    Quantize,
    /// Codes become plain numbers; everything else stays as it is.
    Decode(PlainDtype),
    /// Codes stay what they are; the layout becomes the recipe's.
    Migrate,
    /// Codes stay what they are; known defects are repaired.
    Repair,
    /// Weights stay what they are; entries of the header and options of layers change.
    Edit,
}
