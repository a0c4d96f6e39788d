/// Projections that programs join when they load a model, so that they need one scheme: transformers'
/// names, and what stands for all of them.
const FUSED: [(&[&str], &str); 3] = [
    (&["q_proj", "k_proj", "v_proj"], "qkv"),
    (&["gate_proj", "up_proj"], "gate_up"),
    (&["w1", "w3"], "w13"),
];

/// Returns the name of the group that a layer shares its scheme with; its own name for most.
pub(super) fn fused_group(layer: &str) -> String {
    let (module, last) = layer.rsplit_once('.').unwrap_or(("", layer));
    let joined = FUSED.iter().find(|(members, _)| members.contains(&last));
    joined.map_or_else(|| layer.to_owned(), |(_, name)| format!("{module}.<{name}>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projections_that_servers_join_are_one_group() {
        let q = fused_group("model.layers.3.self_attn.q_proj");
        assert_eq!(q, fused_group("model.layers.3.self_attn.v_proj"));
        assert_ne!(q, fused_group("model.layers.4.self_attn.v_proj"));
        assert_eq!(fused_group("blocks.0.attn.to_q"), "blocks.0.attn.to_q");
        assert_eq!(fused_group("o_proj"), "o_proj");
    }
}
