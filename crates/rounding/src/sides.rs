/// What feedback couples, where it works for real inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sides {
    /// Columns, by the second moment of the inputs.
    #[default]
    Inputs,
    /// Rows as well, by the second moment of the gradients at the outputs, where that is known: a row
    /// makes up for what errors of the rows before it do to the model. The codes are those of one pass,
    /// without a polish, which would undo it.
    Both,
}

impl Sides {
    /// Their names.
    pub const NAMES: [&str; 2] = ["inputs", "both"];

    /// Returns the sides of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "inputs" => Some(Self::Inputs),
            "both" => Some(Self::Both),
            _ => None,
        }
    }

    /// Returns the name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Inputs => "inputs",
            Self::Both => "both",
        }
    }
}
