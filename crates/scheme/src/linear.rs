use roundwise_grid::{Grid, GridKind, GridVisitor, Int8, absmax};

use crate::error::SchemeError;
use crate::quantized::QuantizedMatrix;
use crate::rotation::rotate;
use crate::storage::ZERO_ABSMAX;
use crate::tiling::Tiling;

/// Codes, scales and parameters of a matrix as plain tensors, for programs that multiply by them
/// themselves.
#[derive(Clone, Debug, PartialEq)]
pub struct PlainTensors {
    /// Codes, `[rows, cols]`, a byte each but for 16-bit grids; levels as INT8.
    pub codes: Vec<u8>,
    /// Multipliers, one per tile, in the shape of `scale_shape`, row-major.
    pub scales: Vec<f32>,
    /// `[]`, `[rows]` or `[tiles down, tiles across]`.
    pub scale_shape: Vec<usize>,
    /// Values that the codes stand for.
    pub grid: GridKind,
    /// `[rows, cols]` of a tile.
    pub tile: [usize; 2],
    /// Columns of a group that inputs are rotated in first; 0 for none.
    pub rotation_group: usize,
}

/// How activations become codes where products are made of codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activations {
    /// As they are: the weight is decoded.
    #[default]
    Exact,
    /// INT8 with one scale per token, `max |x| / 127`.
    PerToken,
    /// INT8 with one scale per `block` neighbouring inputs of a token: scales `[…, cols / block]`.
    PerBlock(usize),
}

impl QuantizedMatrix {
    /// Returns the decoded matrix, row-major, as [`to_f32`](QuantizedMatrix::to_f32) does.
    #[must_use]
    pub fn dequantize(&self) -> Vec<f32> {
        self.to_f32()
    }

    /// Returns codes, scales and parameters, each by itself.
    #[must_use]
    pub fn plain_tensors(&self) -> PlainTensors {
        let [rows, cols] = self.shape();
        let tiling = self.scheme().tiling();
        PlainTensors {
            codes: self.codes().to_vec(),
            scales: self.scales().to_vec(),
            scale_shape: tiling.scale_shape(rows, cols),
            grid: self.scheme().grid(),
            tile: tiling.tile_shape(rows, cols),
            rotation_group: self.scheme().rotation_group(cols),
        }
    }

    /// Returns the matrix with rows and columns exchanged, codes and scales unchanged.
    ///
    /// Scales go with their codes: those of rows become those of columns, which are blocks of
    /// `rows × 1`.
    ///
    /// # Errors
    /// [`SchemeError::NotTransposable`] where rows mean more than columns: rotated weights, levels,
    /// zero points, and scales that are bytes of blocks.
    pub fn transpose(&self) -> Result<Self, SchemeError> {
        let [rows, cols] = self.shape();
        let scheme = self.scheme();
        let turned = scheme.transposed([rows, cols]);
        let turned = turned.ok_or(SchemeError::NotTransposable { scheme })?;
        let width = scheme.grid().code_bytes();
        let codes = transposed(self.codes(), [rows, cols], width);
        let [down, across] = scheme.tiling().tiles(rows, cols);
        let scales: Vec<f32> = (0..across)
            .flat_map(|col| (0..down).map(move |row| self.scales()[row * across + col]))
            .collect();
        Self::from_parts(turned, [cols, rows], codes, scales)
    }

    /// Multiplies tokens by the matrix: `y = x Wᵀ`, for `x` of `[tokens, cols]` and `y` of
    /// `[tokens, rows]`, both row-major.
    ///
    /// With [`Activations::Exact`] the weight is decoded row by row and sums are made in f64.
    /// Otherwise tokens become INT8 codes, too, and the products of INT8 and INT4 codes are added
    /// exactly, in i32, as far as one scale of the weight and one of the token reach; other grids
    /// multiply what both decode to. Tokens are rotated first where the weight is.
    ///
    /// # Errors
    /// [`SchemeError::PartLength`] when `x` holds no whole tokens, [`SchemeError::Ragged`] when
    /// blocks of activations do not cover a token, [`SchemeError::NotFinite`] when a token is not
    /// finite.
    pub fn linear(&self, x: &[f32], activations: Activations) -> Result<Vec<f32>, SchemeError> {
        let [rows, cols] = self.shape();
        if cols == 0 || !x.len().is_multiple_of(cols) {
            let expected = x.len().next_multiple_of(cols.max(1));
            return Err(SchemeError::PartLength { what: "inputs", found: x.len(), expected });
        }
        // Blocks of 0 would pass the check of a tiling, which counts them as blocks of 1.
        if activations == Activations::PerBlock(0) {
            return Err(SchemeError::Ragged {
                dimension: "columns",
                found: cols,
                block: 0,
                tiling: Tiling::group(0),
            });
        }
        let block = match activations {
            Activations::Exact => None,
            Activations::PerToken => Some(cols),
            Activations::PerBlock(block) => Some(block),
        };
        let tokens = block.map(|block| self.quantized_tokens(x, block)).transpose()?;
        let mut decoded = vec![0.0; cols];
        let mut products = vec![0.0; x.len() / cols * rows];
        // Rows are the outer loop: each is decoded once, whatever the number of tokens.
        for row in 0..rows {
            if tokens.is_none() {
                self.decode_row(row, &mut decoded);
            }
            for (token, values) in x.chunks(cols).enumerate() {
                let product = match &tokens {
                    None => dot(values, &decoded),
                    Some(tokens) => self.product(row, token, tokens),
                };
                products[token * rows + row] = product as f32;
            }
        }
        Ok(products)
    }

    fn quantized_tokens(&self, x: &[f32], block: usize) -> Result<Tokens, SchemeError> {
        let [_, cols] = self.shape();
        Tiling::Block { rows: 1, cols: block }.covers(1, cols)?;
        let group = self.scheme().rotation_group(cols);
        let mut tokens = Tokens { block, codes: vec![], scales: vec![] };
        for (row, token) in x.chunks(cols).enumerate() {
            let mut token = token.to_vec();
            if group > 0 {
                rotate(group, &mut token);
            }
            for values in token.chunks(block) {
                let largest = absmax(values);
                if !largest.is_finite() {
                    return Err(SchemeError::NotFinite { row });
                }
                // Zeros have a scale of 1, as tiles of weights have.
                let scale = if largest < ZERO_ABSMAX { 1.0 } else { largest / Int8::MAX };
                tokens.codes.extend(values.iter().map(|value| Int8::encode(value / scale) as i8));
                tokens.scales.push(scale);
            }
        }
        Ok(tokens)
    }

    /// Computes the product of a row and a token in codes.
    fn product(&self, row: usize, token: usize, tokens: &Tokens) -> f64 {
        let [_, cols] = self.shape();
        let [_, tile_cols] = self.scheme().tiling().tile_shape(self.shape()[0], cols);
        let scales = self.row_scales(row);
        let blocks = cols / tokens.block;
        let inputs = &tokens.codes[token * cols..][..cols];
        let whole = self.whole_numbers(row);
        let decoded = match whole {
            Some(_) => vec![],
            None => self.grid_values(row),
        };
        let mut sum = 0.0;
        let mut first = 0;
        while first < cols {
            // Up to the next column where one of the two scales changes.
            let end = ((first / tile_cols + 1) * tile_cols)
                .min((first / tokens.block + 1) * tokens.block)
                .min(cols);
            let scale = f64::from(scales[first / tile_cols])
                * f64::from(tokens.scales[token * blocks + first / tokens.block]);
            // Products of whole numbers are added as whole numbers, so that the sum is the one
            // that kernels have in i32, to the last bit.
            let inputs = &inputs[first..end];
            sum += scale
                * match &whole {
                    Some(codes) => exact_dot(&codes[first..end], inputs),
                    None => {
                        let values = decoded[first..end].iter().zip(inputs);
                        values.map(|(value, input)| f64::from(*value) * f64::from(*input)).sum()
                    }
                };
            first = end;
        }
        sum
    }

    /// Returns the codes of a row as whole numbers, where the grid is one of whole numbers.
    fn whole_numbers(&self, row: usize) -> Option<Vec<i8>> {
        let [_, cols] = self.shape();
        let codes = self.codes().get(row * cols..(row + 1) * cols)?;
        match self.scheme().grid() {
            GridKind::Int8 => Some(codes.iter().map(|code| *code as i8).collect()),
            // The sign of a 4-bit code is its fourth bit: shifted to the top, it is filled in again on
            // the way back.
            GridKind::Int4 => Some(codes.iter().map(|code| (code << 4) as i8 >> 4).collect()),
            GridKind::E2m1 | GridKind::E4m3 | GridKind::E5m2 | GridKind::F16 | GridKind::Bf16 => {
                None
            }
        }
    }

    /// Returns a row in grid units: its codes decoded with scales of 1.
    fn grid_values(&self, row: usize) -> Vec<f32> {
        struct Decode<'a>(&'a QuantizedMatrix, usize);
        impl GridVisitor for Decode<'_> {
            type Output = Vec<f32>;
            fn visit<G: Grid>(self) -> Vec<f32> {
                let mut codes = vec![G::Code::default(); self.0.shape()[1]];
                self.0.read_row_codes::<G>(self.1, &mut codes);
                codes.into_iter().map(G::decode).collect()
            }
        }
        self.scheme().grid().visit(Decode(self, row))
    }
}

/// Activations as INT8 codes.
struct Tokens {
    block: usize,
    codes: Vec<i8>,
    scales: Vec<f32>,
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// Terms whose sum fits an i32, at most 128 · 128 each: codes of other programs reach −128.
const MOST_TERMS: usize = i32::MAX as usize / (128 * 128);

fn exact_dot(a: &[i8], b: &[i8]) -> f64 {
    let sum = |a: &[i8], b: &[i8]| -> i32 {
        a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum()
    };
    a.chunks(MOST_TERMS).zip(b.chunks(MOST_TERMS)).map(|(a, b)| f64::from(sum(a, b))).sum()
}

/// Exchanges the rows and columns of codes of `width` bytes each.
fn transposed(codes: &[u8], [rows, cols]: [usize; 2], width: usize) -> Vec<u8> {
    let mut turned = vec![0; codes.len()];
    for row in 0..rows {
        for col in 0..cols {
            let [from, to] = [row * cols + col, col * rows + row].map(|at| at * width);
            turned[to..to + width].copy_from_slice(&codes[from..from + width]);
        }
    }
    turned
}
