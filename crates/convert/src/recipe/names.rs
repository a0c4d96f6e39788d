/// The treatment of tensor names that are not the model's own. Where nobody says which, they are
/// translated, but for files of llama.cpp that no program is known to read under other names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// They become the model's own, and so do the shapes and the order of rows.
    Translate,
    /// They stay.
    Keep,
}

impl Names {
    /// Every choice with its name.
    pub const NAMES: [(&'static str, Self); 2] =
        [("translate", Self::Translate), ("keep", Self::Keep)];
}
