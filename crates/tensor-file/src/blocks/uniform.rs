//! 32 weights that lie evenly: around zero (`_0`), or from a minimum on (`_1`).

use std::array::from_fn;

use super::fields::{Fields, nibble};

/// `weight = scale · (code − 8)`.
pub(super) struct Q4_0<'a> {
    scale: f32,
    codes: &'a [u8; 16],
}

impl<'a> Q4_0<'a> {
    pub(super) fn read(block: &'a [u8; 18]) -> Self {
        let mut fields = Fields(block);
        Self { scale: fields.f16(), codes: fields.bytes() }
    }

    pub(super) fn weights(&self) -> [f32; 32] {
        from_fn(|at| self.scale * f32::from(nibble(self.codes, at) as i8 - 8))
    }
}

/// `weight = scale · code + minimum`.
pub(super) struct Q4_1<'a> {
    scale: f32,
    minimum: f32,
    codes: &'a [u8; 16],
}

impl<'a> Q4_1<'a> {
    pub(super) fn read(block: &'a [u8; 20]) -> Self {
        let mut fields = Fields(block);
        Self { scale: fields.f16(), minimum: fields.f16(), codes: fields.bytes() }
    }

    pub(super) fn weights(&self) -> [f32; 32] {
        from_fn(|at| self.scale * f32::from(nibble(self.codes, at)) + self.minimum)
    }
}

/// `weight = scale · (code − 16)`.
pub(super) struct Q5_0<'a> {
    scale: f32,
    /// Bit 4 of every code.
    fifth_bits: u32,
    /// The bits below.
    codes: &'a [u8; 16],
}

impl<'a> Q5_0<'a> {
    pub(super) fn read(block: &'a [u8; 22]) -> Self {
        let mut fields = Fields(block);
        Self { scale: fields.f16(), fifth_bits: fields.u32(), codes: fields.bytes() }
    }

    pub(super) fn weights(&self) -> [f32; 32] {
        let code = |at| five_bits(self.codes, self.fifth_bits, at);
        from_fn(|at| self.scale * f32::from(code(at) as i8 - 16))
    }
}

/// `weight = scale · code + minimum`.
pub(super) struct Q5_1<'a> {
    scale: f32,
    minimum: f32,
    /// Bit 4 of every code.
    fifth_bits: u32,
    /// The bits below.
    codes: &'a [u8; 16],
}

impl<'a> Q5_1<'a> {
    pub(super) fn read(block: &'a [u8; 24]) -> Self {
        let mut fields = Fields(block);
        let [scale, minimum] = [fields.f16(), fields.f16()];
        Self { scale, minimum, fifth_bits: fields.u32(), codes: fields.bytes() }
    }

    pub(super) fn weights(&self) -> [f32; 32] {
        let code = |at| five_bits(self.codes, self.fifth_bits, at);
        from_fn(|at| self.scale * f32::from(code(at)) + self.minimum)
    }
}

/// `weight = scale · code`, codes are signed bytes.
pub(super) struct Q8_0<'a> {
    scale: f32,
    codes: &'a [u8; 32],
}

impl<'a> Q8_0<'a> {
    pub(super) fn read(block: &'a [u8; 34]) -> Self {
        let mut fields = Fields(block);
        Self { scale: fields.f16(), codes: fields.bytes() }
    }

    pub(super) fn weights(&self) -> [f32; 32] {
        from_fn(|at| self.scale * f32::from(self.codes[at] as i8))
    }
}

fn five_bits(codes: &[u8; 16], fifth_bits: u32, at: usize) -> u8 {
    nibble(codes, at) | ((fifth_bits >> at & 1) as u8) << 4
}
