/// The shape of a layer's weight: a matrix, or one for each expert of a bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerShape {
    /// Matrices that lie behind each other in one tensor; `None` where the weight is a matrix.
    pub experts: Option<usize>,
    /// `[rows, cols]` of each matrix.
    pub matrix: [usize; 2],
}

impl From<[usize; 2]> for LayerShape {
    fn from(matrix: [usize; 2]) -> Self {
        Self { experts: None, matrix }
    }
}
