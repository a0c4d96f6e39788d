/// The shape of a layer's weight: a matrix, or one for each expert of a bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerShape {
    /// Matrices that lie behind each other in one tensor; `None` where the weight is a matrix.
    pub experts: Option<usize>,
    /// `[rows, cols]` of each matrix.
    pub matrix: [usize; 2],
}

impl LayerShape {
    /// Returns the shape of the matrices with rows and columns exchanged.
    #[must_use]
    pub fn transposed(self) -> Self {
        let [rows, cols] = self.matrix;
        Self { matrix: [cols, rows], ..self }
    }
}

impl From<[usize; 2]> for LayerShape {
    fn from(matrix: [usize; 2]) -> Self {
        Self { experts: None, matrix }
    }
}
