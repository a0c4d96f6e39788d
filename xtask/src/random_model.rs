use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

/// A BF16 file of random matrices.
pub(crate) struct RandomModel {
    /// Of the file, without its extension.
    pub(crate) name: String,
    /// Names and shapes, in the order of the file.
    pub(crate) tensors: Vec<(String, Vec<usize>)>,
}

const BYTES_PER_WEIGHT: usize = 2;
const WIDE: [usize; 2] = [12288, 3072];
const SQUARE: [usize; 2] = [3072, 3072];
const WIDE_PER_UNIT: usize = 11;
const EXTRA_SQUARES_PER_UNIT: usize = 2;
/// Numbers that are drawn; then they are repeated. A prime.
const DRAWN_WEIGHTS: usize = 4_194_319;

/// Spread of the weights; real layers of such models have 0.02 to 0.05.
const DEVIATION: f32 = 0.03;

impl RandomModel {
    /// Returns a model with the names of a diffusion transformer's, of about `units` GiB: one unit is 11 matrices of
    /// 12288 × 3072 and 13 of 3072 × 3072, 1,026 MiB.
    pub(crate) fn of_units(units: usize) -> Self {
        let wide = (0..units * WIDE_PER_UNIT).flat_map(|block| {
            [
                (format!("double_blocks.{block}.img_mlp.0.weight"), WIDE.to_vec()),
                (format!("double_blocks.{block}.img_attn.proj.weight"), SQUARE.to_vec()),
            ]
        });
        let extra = (0..units * EXTRA_SQUARES_PER_UNIT)
            .map(|block| (format!("double_blocks.{block}.txt_attn.proj.weight"), SQUARE.to_vec()));
        Self { name: format!("random-{units}gib"), tensors: wide.chain(extra).collect() }
    }

    /// Returns a model of `count` matrices of `size` × `size`.
    pub(crate) fn of_squares(count: usize, size: usize) -> Self {
        let square =
            |block| (format!("double_blocks.{block}.img_attn.proj.weight"), vec![size, size]);
        let name = format!("random-{count}-squares-of-{size}");
        Self { name, tensors: (0..count).map(square).collect() }
    }

    /// Returns a model of one matrix.
    pub(crate) fn of_matrix(shape @ [rows, cols]: [usize; 2]) -> Self {
        let tensor = ("double_blocks.0.img_attn.proj.weight".to_owned(), shape.to_vec());
        Self { name: format!("random-{rows}x{cols}"), tensors: vec![tensor] }
    }

    /// Returns the number of elements of the largest matrix.
    pub(crate) fn largest_matrix() -> usize {
        WIDE[0] * WIDE[1]
    }

    /// Returns the file, made unless it is there from an earlier run: the same bytes every time.
    pub(crate) fn file(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join(format!("{}.safetensors", self.name));
        let header = self.header()?;
        let size = (header.len() + self.data_bytes()) as u64;
        if path.metadata().is_ok_and(|found| found.len() == size) {
            return Ok(path);
        }
        fs::create_dir_all(folder)?;
        let partial = path.with_extension("partial");
        self.write(&header, &partial).with_context(|| format!("write {}", partial.display()))?;
        fs::rename(&partial, &path)?;
        Ok(path)
    }

    /// Returns the bytes of all numbers.
    pub(crate) fn data_bytes(&self) -> usize {
        self.tensors.iter().map(|(_, shape)| byte_len(shape)).sum()
    }

    /// Returns the length field and the padded JSON.
    fn header(&self) -> Result<Vec<u8>> {
        let mut entries = Map::new();
        let mut start = 0;
        for (name, shape) in &self.tensors {
            let end = start + byte_len(shape);
            entries.insert(
                name.clone(),
                json!({"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}),
            );
            start = end;
        }
        let mut text = serde_json::to_vec(&Value::Object(entries))?;
        text.resize(text.len().next_multiple_of(8), b' ');
        let mut header = (text.len() as u64).to_le_bytes().to_vec();
        header.append(&mut text);
        Ok(header)
    }

    /// Writes in small pieces, so that this process stays small: see
    /// [`crate::measured_run::MeasuredRun`].
    fn write(&self, header: &[u8], path: &Path) -> Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(header)?;
        let mut random = Random(1);
        // Drawing every number anew takes minutes for each GiB. No tensor has a multiple of as many weights, so that
        // none of a file is as another.
        let drawn: Vec<u8> = (0..DRAWN_WEIGHTS).flat_map(|_| random.bf16().to_le_bytes()).collect();
        let mut left = self.data_bytes();
        while left > 0 {
            let piece = &drawn[..left.min(drawn.len())];
            file.write_all(piece)?;
            left -= piece.len();
        }
        file.into_inner()?.sync_all()?;
        Ok(())
    }
}

fn byte_len(shape: &[usize]) -> usize {
    shape.iter().product::<usize>() * BYTES_PER_WEIGHT
}

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// Returns a nearly normal weight: the sum of four uniform 16-bit parts, variance 4/12. Cut to
    /// BF16.
    pub(crate) fn bf16(&mut self) -> u16 {
        let bits = self.next();
        let sum: u64 = (0..4).map(|part| bits >> (16 * part) & 0xFFFF).sum();
        let uniform = sum as f32 / 65536.0 - 2.0;
        let weight = uniform * 3f32.sqrt() * DEVIATION;
        (weight.to_bits() >> 16) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_unit_is_about_one_gib_of_whole_matrices() {
        let model = RandomModel::of_units(1);
        assert_eq!(model.data_bytes(), 1026 << 20);
        assert_eq!(model.header().unwrap().len() % 8, 0);
    }

    #[test]
    fn weights_have_the_stated_spread() {
        let mut random = Random(1);
        let weights: Vec<f32> =
            (0..100_000).map(|_| f32::from_bits(u32::from(random.bf16()) << 16)).collect();
        let mean_square = weights.iter().map(|w| w * w).sum::<f32>() / weights.len() as f32;
        assert!((mean_square.sqrt() / DEVIATION - 1.0).abs() < 0.01);
    }
}
