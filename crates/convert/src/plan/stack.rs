//! Layers that servers store alike: those that they stack and multiply by as if they were one, and banks of experts.

use crate::model::Preset;

/// The layers that servers join into one matrix when they load a model, or the banks of experts of one module. They need
/// one way of storing.
pub(crate) struct Stack<'a> {
    module: &'a str,
    members: &'a [String],
}

impl<'a> Stack<'a> {
    /// Returns the stack that a layer is part of; `None` for one that stands alone.
    pub(crate) fn of(preset: &'a Preset, layer: &'a str) -> Option<Self> {
        // By the last part of the name alone: layers of one stack are of one module.
        let (module, last) = layer.rsplit_once('.').unwrap_or(("", layer));
        let mut stacks = preset.fused.iter().chain([&preset.coded_banks]);
        let members = stacks.find(|members| members.iter().any(|name| name == last))?;
        Some(Self { module, members })
    }

    /// Returns a name that is the same for all of its layers.
    pub(crate) fn name(&self) -> String {
        self.layer(&self.members.join("+"))
    }

    /// Returns the names that its layers have where the model has them.
    pub(crate) fn layers(&self) -> impl Iterator<Item = String> {
        self.members.iter().map(|member| self.layer(member))
    }

    fn layer(&self, last: &str) -> String {
        match self.module {
            "" => last.to_owned(),
            module => format!("{module}.{last}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_of_one_module_that_servers_join_have_one_stack() {
        let name = |layer: &str| Stack::of(Preset::served(), layer).map(|stack| stack.name());
        let query = name("model.layers.3.self_attn.q_proj");
        assert!(query.is_some());
        assert_eq!(query, name("model.layers.3.self_attn.v_proj"));
        assert_ne!(query, name("model.layers.4.self_attn.v_proj"));
        assert_eq!(name("model.layers.3.self_attn.o_proj"), None);
        let stack = Stack::of(Preset::served(), "up_proj").unwrap();
        assert_eq!(stack.layers().collect::<Vec<_>>(), ["gate_proj", "up_proj"]);
    }
}
