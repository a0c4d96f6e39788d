//! Layers that servers stack and multiply by as if they were one.

use std::collections::BTreeMap;

use roundwise_scheme::Scheme;

use crate::model::Preset;
use crate::plan::decision::{Decision, PlannedTensor};
use crate::plan::reason::Reason;
use crate::recipe::{Complaint, PlainDtype, Setting};

/// Returns a name for the stack that a layer is part of, the same for all of its layers; `None` for
/// one that stands alone.
pub(crate) fn stack_of(preset: &Preset, layer: &str) -> Option<String> {
    let (module, last) = layer.rsplit_once('.').unwrap_or(("", layer));
    let group = preset.fused.iter().find(|group| group.iter().any(|name| name == last))?;
    Some(format!("{module}.{}", group.join("+")))
}

/// Keeps layers whose stack holds one that is kept: servers have one way of storing for all of it.
///
/// # Errors
/// A complaint for each stack whose layers are to have different schemes.
pub(crate) fn keep_stacks_alike(
    preset: &Preset,
    tensors: &mut [PlannedTensor],
) -> Result<(), Vec<Complaint>> {
    let mut stacks = BTreeMap::<String, Vec<usize>>::new();
    for (index, planned) in tensors.iter().enumerate() {
        let is_matrix = planned.shape.len() == 2 && planned.decision != Decision::Remove;
        let stack = is_matrix.then(|| stack_of(preset, planned.layer())).flatten();
        stacks.entry(stack.unwrap_or_default()).or_default().push(index);
    }
    // Those that stand alone.
    stacks.remove("");
    let mut complaints = vec![];
    for members in stacks.into_values() {
        let kept = members.iter().find(|&&index| tensors[index].scheme().is_none());
        if let Some(&kept) = kept {
            let with = tensors[kept].layer().to_owned();
            for index in members.into_iter().filter(|index| *index != kept) {
                keep_with(&mut tensors[index], &with);
            }
            continue;
        }
        let schemes: Vec<(&str, Scheme)> = members
            .iter()
            .filter_map(|&index| Some((tensors[index].layer(), tensors[index].scheme()?)))
            .collect();
        if let Some(other) = schemes.iter().find(|(_, scheme)| *scheme != schemes[0].1) {
            let ((first, scheme), (layer, other)) = (schemes[0], *other);
            complaints.push(Complaint::about(
                Setting::new("rules"),
                format!(
                    "`{first}` would become {scheme} and `{layer}` {other}, which servers stack into \
                     one matrix\n  give them the same scheme"
                ),
            ));
        }
    }
    if complaints.is_empty() { Ok(()) } else { Err(complaints) }
}

fn keep_with(planned: &mut PlannedTensor, layer: &str) {
    if planned.scheme().is_none() {
        return;
    }
    planned.reason = Reason::StackedWith(layer.to_owned());
    planned.decision = match planned.is_in_codes {
        true => Decision::Decode { dtype: PlainDtype::Bf16 },
        false => Decision::Copy,
    };
}
