use roundwise_scheme::{GridKind, Scheme, Tiling};

use crate::error::LayoutError;
use crate::layer_shape::LayerShape;
use crate::layout::Layout;
use crate::legacy;
use crate::marker::format::Format;
use crate::opened_by::reads_banks;
use crate::packing::Packing;
use crate::served::{Codes, Served};

/// Columns that the kernels for INT4 take at once.
// comfy-kitchen fixes the groups of its kernel at 64 columns, whatever the rotation's.
const INT4_KERNEL_COLUMNS: usize = 64;

impl Layout {
    /// Checks that the layout has a place for `scheme`.
    ///
    /// # Errors
    /// [`LayoutError::Inadmissible`] with what to do instead.
    pub fn admits(self, scheme: Scheme) -> Result<(), LayoutError> {
        let help = match self {
            Layout::CompressedTensors | Layout::Fp8 | Layout::ModelOpt | Layout::Mxfp4
                if is_plain(scheme) || Served::of(self, scheme).is_some() =>
            {
                return Ok(());
            }
            Layout::CompressedTensors | Layout::Fp8 | Layout::ModelOpt | Layout::Mxfp4 => {
                self.help_for_servers(scheme)
            }
            Layout::Comfy if is_plain(scheme) || Format::of(scheme).is_some() => return Ok(()),
            Layout::ComfyLegacy if legacy::admits(scheme) => return Ok(()),
            Layout::Comfy if legacy::admits(scheme) => "use layout `comfy-legacy`",
            Layout::Comfy if Served::of(Layout::CompressedTensors, scheme).is_some() => {
                "ComfyUI has no marker for it; servers read it in layout `compressed-tensors`"
            }
            Layout::Comfy => "no program has a marker for it",
            Layout::ComfyLegacy => {
                "it stores `fp8`, `fp8-log-scales` and `fp16-scaled` only; use layout `comfy`"
            }
        };
        Err(LayoutError::Inadmissible { layout: self, scheme, help })
    }

    /// Returns what to do about a scheme that a layout for servers has no place for.
    fn help_for_servers(self, scheme: Scheme) -> &'static str {
        match self {
            Layout::Mxfp4 => {
                "it stores `mxfp4` of banks of experts only; layout `compressed-tensors` stores other schemes of all \
                 other layers"
            }
            Layout::Fp8 => "it stores FP8 in blocks of 128×128 only, such as `fp8-block-128`",
            Layout::ModelOpt if Served::of(Layout::CompressedTensors, scheme).is_some() => {
                "it stores `fp8`, `fp8-row`, `mxfp8` and `nvfp4` only; use layout `compressed-tensors`"
            }
            _ if Format::of(scheme).is_some() => {
                "no server reads it; `fp8-row`, `int8-row` and `int4-group-128` are read, and layout \
                 `comfy` stores it"
            }
            _ => "no server reads it; `fp8-row`, `int8-row` and `int4-group-128` are read",
        }
    }

    /// Returns the scheme with its scales as the layout keeps them.
    #[must_use]
    pub fn stored_scheme(self, scheme: Scheme) -> Scheme {
        match (self, Served::of(self, scheme)) {
            // Scales of the others are F32 numbers for every reader.
            (Layout::CompressedTensors | Layout::Fp8, Some(_)) => scheme.for_servers(),
            (Layout::ModelOpt, Some(_)) if scheme.has_block_scales() => scheme.for_servers(),
            _ => scheme,
        }
    }

    /// Returns the layout of a scheme that no layout was asked for: the first one that has a place for
    /// it.
    pub fn default_for(scheme: Scheme) -> Self {
        // In the order of `NAMES`, ComfyUI's own layouts first.
        let layouts = Layout::NAMES.map(|(_, layout)| layout);
        layouts.into_iter().find(|layout| layout.admits(scheme).is_ok()).unwrap_or_default()
    }

    /// Checks that programs which read the layout take a layer of this shape.
    ///
    /// # Errors
    /// [`LayoutError::Columns`] when their kernels need another number of columns, [`LayoutError::Rows`] when words
    /// would hold something of two layers, [`LayoutError::Bank`] when they read no banks of experts in the scheme,
    /// [`LayoutError::NoBank`] when they read nothing else in codes.
    pub fn takes(self, scheme: Scheme, shape: impl Into<LayerShape>) -> Result<(), LayoutError> {
        let LayerShape { experts, matrix: [rows, cols] } = shape.into();
        if experts.is_none() && self.is_of_transposed_banks() && scheme.has_scales() {
            return Err(LayoutError::NoBank { layout: self });
        }
        if experts.is_some() && !reads_banks(self, scheme) {
            return Err(LayoutError::Bank { scheme });
        }
        if let Some(served) = Served::of(self, scheme) {
            let multiple = scheme.rows_in_word();
            if !rows.is_multiple_of(multiple) {
                return Err(LayoutError::Rows { scheme, rows, multiple });
            }
            let multiple = served_columns(served, scheme);
            return match cols.is_multiple_of(multiple) {
                true => Ok(()),
                false => Err(LayoutError::Columns { scheme, cols, multiple }),
            };
        }
        match scheme.grid() {
            // Refused here and not in the scheme: the codes of such a matrix can be computed and stored, only the
            // programs that read this layout cannot multiply by them.
            GridKind::Int4 if !cols.is_multiple_of(INT4_KERNEL_COLUMNS) => {
                Err(LayoutError::Columns { scheme, cols, multiple: INT4_KERNEL_COLUMNS })
            }
            _ => Ok(()),
        }
    }

    /// Tells whether the tensor of codes has the shape of the weight: neither packed nor padded.
    pub fn keeps_shape(self, scheme: Scheme, shape: [usize; 2]) -> bool {
        Packing::of(self, scheme, shape).keeps_shape()
    }
}

/// Returns what the columns of a layer are a multiple of, where nothing is filled up with zeros.
fn served_columns(served: Served, scheme: Scheme) -> usize {
    let of_codes = match served.codes {
        Codes::Bytes => 1,
        Codes::Nibbles | Codes::PackedNibbles | Codes::Blocks => 2,
        Codes::Words => 32 / scheme.code_bits(),
    };
    match scheme.tiling() {
        Tiling::Block { cols, .. } => cols,
        Tiling::Row | Tiling::Tensor => of_codes,
    }
}

/// Tells whether codes are numbers that need no marker: every program reads them.
fn is_plain(scheme: Scheme) -> bool {
    [GridKind::F16, GridKind::Bf16].map(Scheme::unscaled).contains(&scheme)
}
