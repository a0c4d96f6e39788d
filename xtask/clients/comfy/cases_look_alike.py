"""What looks like a model: ControlNets, encoders of pictures and sound, adapters, upscalers."""

import importlib

import torch

import random_weights
from look_alike import LookAlike


def network(name, module, **config):
    """A class of another library with a configuration."""

    def tensors():
        package, build = module.rsplit(".", 1)
        build = getattr(importlib.import_module(package), build)
        return random_weights.tensors_of(build(**config))

    return LookAlike(name, tensors)


def transformer(name, model, config, *, is_unknown=False, **sizes):
    """A model of transformers."""

    def tensors():
        import transformers

        built = getattr(transformers, model)(getattr(transformers, config)(**sizes))
        return random_weights.tensors_of(built)

    return LookAlike(name, tensors, is_unknown=is_unknown)


def named(name, shapes):
    """A file of these names and shapes."""

    def tensors():
        numbers = torch.Generator().manual_seed(0)
        return {key: torch.randn(shape, generator=numbers).bfloat16() for key, shape in shapes().items()}

    return LookAlike(name, tensors)


def adapter(up, down, prefix, separator="."):
    """Two thin matrices for each layer of a small FLUX."""

    def shapes():
        layers = ["img_attn.qkv", "img_attn.proj", "img_mlp.0", "img_mlp.2"]
        names = [
            f"{prefix}double_blocks.{block}.{layer}".replace(".", separator) for block in (0, 1) for layer in layers
        ]
        names = [name.replace(prefix.replace(".", separator), prefix) for name in names]
        return {f"{name}.{up}": (256, 8) for name in names} | {f"{name}.{down}": (8, 256) for name in names}

    return shapes


VISION = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, image_size=56)
UNET = dict(block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=32)
BLOCKS = dict(down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"))
DIT = dict(num_layers=2, attention_head_dim=32, num_attention_heads=4)


def ip_adapter():
    names = [f"ip_adapter.{number}.to_{part}_ip.weight" for number in (1, 3, 5) for part in "kv"]
    return {name: (320, 768) for name in names} | {
        "image_proj.proj.weight": (3072, 1024),
        "image_proj.norm.weight": (768,),
    }


def gligen():
    start = "input_blocks.1.1.transformer_blocks.0.fuser"
    shapes = {f"{start}.linear.weight": (320, 768), f"{start}.attn.to_q.weight": (320, 320)}
    return shapes | {f"{start}.attn.to_k.weight": (320, 320), "position_net.linears.0.weight": (512, 832)}


def controlnet_of_flux():
    import comfy.ldm.flux.controlnet
    import comfy.ops

    from cases_flux import FLUX

    network = comfy.ldm.flux.controlnet.ControlNetFlux(
        **(FLUX | dict(depth_single_blocks=0)),
        operations=comfy.ops.disable_weight_init,
        device="cpu",
        dtype=torch.float32,
    )
    return random_weights.tensors_of(network)


CASES = [
    LookAlike("controlnet_flux_xlabs", controlnet_of_flux),
    network(
        "controlnet_flux_instantx",
        "diffusers.FluxControlNetModel",
        num_single_layers=1,
        joint_attention_dim=128,
        pooled_projection_dim=64,
        in_channels=64,
        axes_dims_rope=(8, 12, 12),
        **DIT,
    ),
    network(
        "controlnet_flux_union",
        "diffusers.FluxControlNetModel",
        num_single_layers=1,
        joint_attention_dim=128,
        pooled_projection_dim=64,
        in_channels=64,
        axes_dims_rope=(8, 12, 12),
        num_mode=7,
        **DIT,
    ),
    network(
        "controlnet_qwen_image",
        "diffusers.QwenImageControlNetModel",
        joint_attention_dim=128,
        axes_dims_rope=(8, 12, 12),
        **DIT,
    ),
    network(
        "controlnet_sd3",
        "diffusers.SD3ControlNetModel",
        sample_size=16,
        joint_attention_dim=128,
        caption_projection_dim=128,
        pooled_projection_dim=64,
        **DIT,
    ),
    network("controlnet_sd15", "diffusers.ControlNetModel", **UNET, **BLOCKS),
    network(
        "controlnet_sdxl_union",
        "diffusers.ControlNetUnionModel",
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=80,
        **UNET,
        **BLOCKS,
    ),
    network(
        "controlnet_hunyuan_dit",
        "diffusers.HunyuanDiT2DControlNetModel",
        transformer_num_layers=6,
        attention_head_dim=32,
        num_attention_heads=4,
        hidden_size=128,
        in_channels=4,
        patch_size=2,
        cross_attention_dim=64,
        cross_attention_dim_t5=64,
        pooled_projection_dim=64,
        sample_size=16,
    ),
    network("t2i_adapter", "diffusers.T2IAdapter", channels=(32, 64, 64, 64), num_res_blocks=1),
    network("redux", "diffusers.pipelines.flux.modeling_flux.ReduxImageEncoder", redux_dim=128, txt_in_features=256),
    network(
        "motion_module",
        "diffusers.MotionAdapter",
        block_out_channels=(32, 64),
        motion_layers_per_block=1,
        motion_num_attention_heads=2,
        motion_max_seq_length=8,
    ),
    network(
        "vae_sd",
        "diffusers.AutoencoderKL",
        block_out_channels=(32, 64),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    ),
    network("vae_wan", "diffusers.AutoencoderKLWan", base_dim=32, dim_mult=[1, 2, 2, 2], num_res_blocks=1),
    transformer("clip_vision", "CLIPVisionModelWithProjection", "CLIPVisionConfig", **VISION),
    transformer("siglip_vision", "SiglipVisionModel", "SiglipVisionConfig", **VISION),
    transformer("dinov2", "Dinov2Model", "Dinov2Config", hidden_size=64, num_hidden_layers=2, num_attention_heads=2),
    transformer(
        "wav2vec2",
        "Wav2Vec2Model",
        "Wav2Vec2Config",
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        conv_dim=(32,) * 7,
    ),
    transformer(
        "whisper",
        "WhisperModel",
        "WhisperConfig",
        d_model=64,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
    ),
    transformer(
        "clip_text",
        "CLIPTextModelWithProjection",
        "CLIPTextConfig",
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        vocab_size=1000,
    ),
    transformer(
        "byt5",
        "T5EncoderModel",
        "T5Config",
        d_model=1472,
        d_kv=64,
        d_ff=256,
        num_layers=2,
        num_heads=6,
        vocab_size=384,
        is_gated_act=True,
        feed_forward_proj="gated-gelu",
    ),
    transformer(
        "mt5_xl",
        "MT5EncoderModel",
        "MT5Config",
        d_model=2048,
        d_kv=64,
        d_ff=5120,
        num_layers=1,
        num_heads=2,
        vocab_size=1000,
    ),
    transformer(
        "bert",
        "BertModel",
        "BertConfig",
        is_unknown=True,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        vocab_size=1000,
    ),
    network("esrgan", "spandrel.architectures.ESRGAN.ESRGAN", num_filters=32, num_blocks=2),
    network(
        "swinir",
        "spandrel.architectures.SwinIR.SwinIR",
        window_size=8,
        embed_dim=32,
        depths=(2, 2),
        num_heads=(2, 2),
        upsampler="pixelshuffle",
    ),
    network("dat", "spandrel.architectures.DAT.DAT", embed_dim=32, depth=(2,), num_heads=(2,), split_size=(2, 4)),
    named("ip_adapter", ip_adapter),
    named("gligen", gligen),
    named("lora_of_kohya", adapter("lora_up.weight", "lora_down.weight", "lora_unet_", "_")),
    named("lora_of_peft", adapter("lora_B.weight", "lora_A.weight", "diffusion_model.")),
    named("lokr", adapter("lokr_w1", "lokr_w2", "lycoris_", "_")),
    named("textual_inversion", lambda: {"clip_l": (8, 768), "clip_g": (8, 1280)}),
]
