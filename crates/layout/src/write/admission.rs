use roundwise_scheme::{GridKind, Scheme};

use crate::error::LayoutError;
use crate::layout::Layout;
use crate::legacy;
use crate::marker::format::Format;
use crate::packing::Packing;

/// Columns that the kernels for INT4 take at once.
const INT4_KERNEL_COLUMNS: usize = 64;

impl Layout {
    /// Checks that the layout has a place for `scheme`.
    ///
    /// # Errors
    /// [`LayoutError::Inadmissible`] with what to do instead.
    pub fn admits(self, scheme: Scheme) -> Result<(), LayoutError> {
        let help = match self {
            Layout::Comfy if is_plain(scheme) || Format::of(scheme).is_some() => return Ok(()),
            Layout::ComfyLegacy if legacy::admits(scheme) => return Ok(()),
            Layout::Comfy if legacy::admits(scheme) => "use layout `comfy-legacy`",
            Layout::Comfy => "no program has a marker for it",
            Layout::ComfyLegacy => {
                "it stores `fp8`, `fp8-log-scales` and `fp16-scaled` only; use layout `comfy`"
            }
        };
        Err(LayoutError::Inadmissible { layout: self, scheme, help })
    }

    /// Returns the layout of a scheme that no layout was asked for: the first one that has a place for
    /// it.
    pub fn default_for(scheme: Scheme) -> Self {
        let layouts = Layout::NAMES.map(|(_, layout)| layout);
        layouts.into_iter().find(|layout| layout.admits(scheme).is_ok()).unwrap_or_default()
    }

    /// Checks that programs which read the layout take a layer of this shape.
    ///
    /// # Errors
    /// [`LayoutError::Columns`] when their kernels need another number of columns.
    pub fn takes(self, scheme: Scheme, [_, cols]: [usize; 2]) -> Result<(), LayoutError> {
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
        Packing::of(scheme, shape).keeps_shape()
    }
}

/// Tells whether codes are numbers that need no marker: every program reads them.
fn is_plain(scheme: Scheme) -> bool {
    [GridKind::F16, GridKind::Bf16].map(Scheme::unscaled).contains(&scheme)
}
