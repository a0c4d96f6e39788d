/// How servers find the scales of a layer's inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum InputScales {
    /// Each program by itself, in every batch; where the scheme has no way of that, inputs stay as they
    /// are.
    #[default]
    Dynamic,
    /// In the file, from statistics.
    Static,
}

impl InputScales {
    /// Both by their names.
    pub const NAMES: [(&str, Self); 2] = [("dynamic", Self::Dynamic), ("static", Self::Static)];
}
