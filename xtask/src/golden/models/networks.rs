//! Small models of several kinds, some as their programs name them.

use crate::golden::tensors::{Tensor, safetensors};

/// Returns the files of models, by name.
pub(super) fn files() -> Vec<(String, Vec<u8>)> {
    let kept = [("format", "pt"), ("author", "nobody \"at all\"")];
    let made = [("roundwise", r#"{"version":"0.0.1","recipe":{},"input_blake3":[]}"#)];
    let files = [
        ("small", small(), &[][..]),
        ("blocks", blocks(), &kept),
        ("made", blocks(), &made),
        ("half", small()[..2].to_vec(), &[]),
        // Bands of rows have 8 MiB.
        ("large", vec![weight("blocks.0.ff.in", 8192, 640)], &[]),
        ("ragged", ragged(), &[]),
        ("flux", flux(64), &[]),
        ("wrapped", flux(64).into_iter().map(|it| it.inside("_orig_mod.")).collect(), &[]),
        ("checkpoint", checkpoint(), &[]),
        ("unet", unet(), &[]),
        ("chroma", chroma(), &[]),
        ("t5", t5(), &[]),
        ("clip", clip(), &[]),
    ];
    files
        .into_iter()
        .map(|(name, tensors, metadata)| {
            (format!("{name}.safetensors"), safetensors(&tensors, metadata))
        })
        .collect()
}

/// Returns two layers, one with a bias, for methods that take their time.
fn small() -> Vec<Tensor> {
    vec![
        Tensor::random("blocks.0.ff.in.bias", "F32", &[96]),
        Tensor::random("blocks.0.ff.in.weight", "F32", &[96, 64]),
        Tensor::random("blocks.0.ff.out.weight", "F32", &[64, 96]),
    ]
}

/// Returns layers that blocks of 128 cover, and tensors that are no matrices, of no known model.
fn blocks() -> Vec<Tensor> {
    let ids = (0..4_i64).flat_map(i64::to_le_bytes).collect();
    let [input, bias] = linear("blocks.0.ff.in", 256, 128);
    vec![
        weight("blocks.0.attn.qkv", 384, 128),
        input,
        weight("blocks.0.ff.out", 128, 256),
        bias,
        bf16("blocks.0.norm.weight", &[128]),
        bf16("conv.weight", &[2, 2, 2, 2]),
        Tensor::new("ids", "I64", &[4], ids),
    ]
}

/// Returns shapes that nothing divides, every dtype of plain numbers, zeros and numbers of all
/// sizes.
fn ragged() -> Vec<Tensor> {
    // From 2⁻¹⁴⁰, which is subnormal, to 2¹¹⁹.
    let powers: Vec<f32> = (0..48 * 20).map(|at| 2_f64.powi(at % 260 - 140) as f32).collect();
    vec![
        Tensor::random("a.weight", "F32", &[33, 65]),
        Tensor::random("b.weight", "F16", &[100, 130]),
        Tensor::random("c.weight", "F64", &[31, 17]),
        bf16("d.weight", &[1, 7]),
        bf16("e.weight", &[7, 1]),
        bf16("f.weight", &[129, 256]),
        bf16("g.weight", &[3, 5, 7]),
        bf16("h.weight", &[128, 384]),
        Tensor::f32("powers.weight", &[48, 20], &powers),
        Tensor::f32("zeros.weight", &[32, 32], &[0.0; 32 * 32]),
        Tensor::f32("scalar", &[], &[1.5]),
        Tensor::new("flags", "BOOL", &[3], vec![1, 0, 1]),
        Tensor::new("empty", "F32", &[0, 4], vec![]),
    ]
}

/// Returns a FLUX.1 as ComfyUI names it: two blocks of each kind.
fn flux(width: usize) -> Vec<Tensor> {
    let mut tensors = vec![];
    let outside = [
        ("img_in", width, 64),
        ("txt_in", width, 128),
        ("time_in.in_layer", width, 256),
        ("time_in.out_layer", width, width),
        ("vector_in.in_layer", width, 96),
        ("vector_in.out_layer", width, width),
        ("guidance_in.in_layer", width, 256),
        ("final_layer.adaLN_modulation.1", 2 * width, width),
        ("final_layer.linear", 64, width),
    ];
    tensors.extend(outside.iter().flat_map(|(layer, rows, cols)| linear(layer, *rows, *cols)));
    for (block, stream) in [(0, "img"), (0, "txt"), (1, "img"), (1, "txt")] {
        let name = |rest: &str| format!("double_blocks.{block}.{stream}_{rest}");
        tensors.extend(linear(&name("attn.qkv"), 3 * width, width));
        tensors.extend(linear(&name("attn.proj"), width, width));
        tensors.extend(linear(&name("mlp.0"), 4 * width, width));
        tensors.extend(linear(&name("mlp.2"), width, 4 * width));
        tensors.extend(linear(&name("mod.lin"), 6 * width, width));
        tensors.push(bf16(&name("attn.norm.query_norm.scale"), &[32]));
        tensors.push(bf16(&name("attn.norm.key_norm.scale"), &[32]));
    }
    for block in 0..2 {
        let name = |rest: &str| format!("single_blocks.{block}.{rest}");
        tensors.extend(linear(&name("linear1"), 7 * width, width));
        tensors.extend(linear(&name("linear2"), width, 5 * width));
        tensors.extend(linear(&name("modulation.lin"), 3 * width, width));
        tensors.push(bf16(&name("norm.query_norm.scale"), &[32]));
        tensors.push(bf16(&name("norm.key_norm.scale"), &[32]));
    }
    tensors
}

/// Returns a whole checkpoint: diffusion model, two text encoders, VAE and a tensor of nothing
/// known.
fn checkpoint() -> Vec<Tensor> {
    let vae = vec![
        bf16("encoder.conv_in.weight", &[8, 3, 3, 3]),
        bf16("decoder.conv_in.weight", &[8, 4, 3, 3]),
        weight("decoder.mid.attn_1.q", 32, 32),
    ];
    let parts = [
        ("model.diffusion_model.", flux(32)),
        ("text_encoders.t5xxl.transformer.", t5()),
        ("text_encoders.clip_l.transformer.", clip()),
        ("vae.", vae),
        ("", vec![weight("extra.proj", 32, 32)]),
    ];
    let inside = |(prefix, tensors): (&'static str, Vec<Tensor>)| {
        tensors.into_iter().map(move |tensor| tensor.inside(prefix))
    };
    parts.into_iter().flat_map(inside).collect()
}

/// Returns the start of a Stable Diffusion XL with the VAE's old name.
fn unet() -> Vec<Tensor> {
    let model = [
        bf16("input_blocks.0.0.weight", &[32, 4, 3, 3]),
        weight("time_embed.0", 128, 32),
        weight("label_emb.0.0", 128, 96),
        weight("input_blocks.4.1.transformer_blocks.0.attn2.to_k", 64, 96),
        weight("input_blocks.4.1.transformer_blocks.0.ff.net.0.proj", 128, 64),
        weight("input_blocks.4.0.emb_layers.1", 64, 128),
        bf16("out.2.weight", &[4, 32, 3, 3]),
    ];
    let mut tensors = model.map(|tensor| tensor.inside("model.diffusion_model.")).to_vec();
    tensors.push(bf16("first_stage_model.decoder.conv_in.weight", &[8, 4, 3, 3]));
    tensors.push(weight("conditioner.embedders.0.transformer.text_model.final", 32, 32));
    tensors
}

fn chroma() -> Vec<Tensor> {
    vec![
        bf16("double_blocks.0.img_attn.norm.key_norm.scale", &[32]),
        weight("double_blocks.0.img_attn.qkv", 96, 32),
        bf16("distilled_guidance_layer.norms.0.scale", &[32]),
        weight("distilled_guidance_layer.in_proj", 32, 32),
        weight("final_layer.linear", 32, 32),
        weight("img_in", 32, 32),
        weight("txt_in", 32, 32),
    ]
}

/// Returns the start of a T5-XXL with its decoder, which is left out; its width is not that of a
/// real one.
fn t5() -> Vec<Tensor> {
    let attention = |rest: &str| format!("encoder.block.0.layer.0.SelfAttention.{rest}");
    vec![
        weight("encoder.block.23.layer.1.DenseReluDense.wi_1", 10240, 8),
        weight(&attention("k"), 64, 64),
        weight(&attention("q"), 64, 64),
        weight(&attention("relative_attention_bias"), 32, 4),
        bf16("encoder.final_layer_norm.weight", &[64]),
        weight("shared", 100, 64),
        weight("decoder.block.0.layer.0.SelfAttention.k", 64, 64),
        weight("lm_head", 100, 64),
        Tensor::new("spiece_model", "U8", &[3], vec![1, 2, 3]),
    ]
}

fn clip() -> Vec<Tensor> {
    vec![
        weight("text_model.encoder.layers.0.mlp.fc1", 64, 32),
        weight("text_model.encoder.layers.0.self_attn.q_proj", 32, 32),
    ]
}

pub(super) fn bf16(name: &str, shape: &[usize]) -> Tensor {
    Tensor::random(name, "BF16", shape)
}

pub(super) fn weight(layer: &str, rows: usize, cols: usize) -> Tensor {
    bf16(&format!("{layer}.weight"), &[rows, cols])
}

/// Returns a linear layer with its bias.
fn linear(layer: &str, rows: usize, cols: usize) -> [Tensor; 2] {
    [weight(layer, rows, cols), bf16(&format!("{layer}.bias"), &[rows])]
}
