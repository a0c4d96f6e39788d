//! The tensors of one module of an adapter.

use std::collections::BTreeMap;

use roundwise_tensor_file::TensorHeader;

use crate::source::adapter::keys::Role;
use crate::source::adapter::target::Site;
use crate::source::numbers::element_count;

/// The tensors of one module of an adapter, by what they are.
#[derive(Debug, Default)]
pub(super) struct Module {
    /// As the file spells it.
    pub(super) name: String,
    tensors: BTreeMap<Role, TensorHeader>,
}

impl Module {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), tensors: BTreeMap::new() }
    }

    /// Sets the tensor of a role.
    ///
    /// # Errors
    /// One line, when another tensor is that already: the file holds more than one adapter.
    pub(super) fn set(&mut self, role: Role, header: &TensorHeader) -> Result<(), String> {
        match self.tensors.insert(role, header.clone()) {
            None => Ok(()),
            Some(other) => Err(format!(
                "holds more than one adapter: `{}` and `{}`\n  save each in a file of its own",
                other.name, header.name
            )),
        }
    }

    pub(super) fn get(&self, role: Role) -> Option<&TensorHeader> {
        self.tensors.get(&role)
    }

    pub(super) fn has_any(&self, roles: &[Role]) -> bool {
        roles.iter().any(|role| self.tensors.contains_key(role))
    }

    /// Returns the tensor of a role that has to be there.
    ///
    /// - `part`: what the tensor is called
    ///
    /// # Errors
    /// One line, when the file lacks it.
    pub(super) fn need(&self, role: Role, part: &str) -> Result<TensorHeader, String> {
        let tensor = self.tensors.get(&role);
        tensor.cloned().ok_or_else(|| format!("module `{}` has no `{part}`", self.name))
    }

    pub(super) fn tensors(&self) -> impl Iterator<Item = (Role, &TensorHeader)> {
        self.tensors.iter().map(|(role, tensor)| (*role, tensor))
    }

    /// Returns the complaint that a change has other rows or columns than its weight.
    ///
    /// - `found`: shapes of what the module has
    pub(super) fn misfit(&self, found: &[&TensorHeader], site: &Site, needed: &str) -> String {
        let shapes: Vec<String> = found.iter().map(|it| format!("{:?}", it.shape)).collect();
        format!(
            "module `{}` is {}, {} of `{}` need {needed}; it is of another model",
            self.name,
            shapes.join(" · "),
            format_args!("{} rows", site.row_count()),
            site.tensor.name,
        )
    }
}

/// Returns the product of all sizes but the first.
pub(super) fn rest(tensor: &TensorHeader) -> u64 {
    element_count(&tensor.shape[1.min(tensor.shape.len())..])
}

/// Returns whether a change of `rows` × `cols` numbers fits.
pub(super) fn fits(site: &Site, rows: u64, cols: u64) -> bool {
    let rows_fit = match &site.of_change {
        None => rows == site.row_count() as u64,
        Some(range) => rows >= range.end as u64,
    };
    rows_fit && cols == site.cols() as u64
}
