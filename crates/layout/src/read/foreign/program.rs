/// A program whose codes are read, and what is known of its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignProgram {
    /// Its name, with the kind of codes where it has several.
    pub name: &'static str,
    /// The tensors of a layer `X` that tell it.
    pub told_by: &'static str,
    /// Which of its codes are read.
    pub reads: &'static str,
    /// The formula of a weight, in terms of these tensors.
    pub formula: &'static str,
    /// Programs that open its files as they are.
    pub opened_by: &'static str,
}
