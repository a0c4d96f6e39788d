/// Translates a module's name from llama.cpp's spelling into Hugging Face's, such as `blk.0.attn_q` into
/// `model.layers.0.self_attn.q_proj`.
///
/// Covers what Llama, Mistral, Qwen 2 and 3, Gemma and their like share: separate projections in a
/// dense block, and the output. `None` for everything that architectures spell differently: fused
/// projections, experts and their router, embeddings.
pub fn hugging_face_name(module: &str) -> Option<String> {
    if module == "output" {
        return Some("lm_head".to_owned());
    }
    let (block, part) = module.strip_prefix("blk.")?.split_once('.')?;
    if block.is_empty() || !block.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = match part {
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_output" => "self_attn.o_proj",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        _ => return None,
    };
    Some(format!("model.layers.{block}.{part}"))
}

#[cfg(test)]
mod tests {
    use super::hugging_face_name;

    #[test]
    fn shared_names_are_translated_and_ambiguous_ones_are_not() {
        let name = |module| hugging_face_name(module);
        assert_eq!(name("blk.11.attn_q").unwrap(), "model.layers.11.self_attn.q_proj");
        assert_eq!(name("blk.0.ffn_down").unwrap(), "model.layers.0.mlp.down_proj");
        assert_eq!(name("output").unwrap(), "lm_head");
        for module in [
            "blk.0.attn_qkv",
            "blk.0.ffn_gate_exps.3",
            "blk.x.attn_q",
            "blk..attn_q",
            "token_embd",
            "blk.0.ffn_gate_inp",
            "enc.blk.0.attn_q",
        ] {
            assert_eq!(name(module), None, "{module}");
        }
    }
}
