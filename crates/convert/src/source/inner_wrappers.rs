use std::collections::{BTreeMap, BTreeSet};

use roundwise_tensor_file::Checkpoint;

use crate::model::wrapper::without_inner_wrappers;

/// What training code had put inside names, and what was taken off them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InnerWrappers {
    /// The segments, such as `_fsdp_wrapped_module`.
    pub(crate) wrappers: BTreeSet<&'static str>,
    /// Number of tensors that have another name.
    pub(crate) tensors: usize,
}

/// Takes off names what training code put inside them, around single blocks of a model; `None` where there is
/// nothing of the kind, or two tensors would have one name.
pub(crate) fn take_off(checkpoint: &mut Checkpoint) -> Option<InnerWrappers> {
    let mut wrappers = BTreeSet::new();
    let mut names = BTreeMap::new();
    let mut new_names = BTreeSet::new();
    for header in checkpoint.tensors() {
        let Some((bare, found)) = without_inner_wrappers(&header.name) else { continue };
        if checkpoint.get(&bare).is_some() || !new_names.insert(bare.clone()) {
            return None;
        }
        wrappers.extend(found);
        names.insert(header.name.clone(), bare);
    }
    let tensors = names.len();
    checkpoint.rename(&names);
    (tensors > 0).then_some(InnerWrappers { wrappers, tensors })
}
