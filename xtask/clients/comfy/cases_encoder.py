"""Text encoders."""

import tree  # noqa: F401
import comfy.text_encoders.gemma4 as gemma4
import comfy.text_encoders.llama as llama
import comfy.text_encoders.qwen35 as qwen35
import comfy.text_encoders.qwen3vl as qwen3vl
import comfy.text_encoders.qwen_vl as qwen_vl
from comfy.sd import CLIPType

from encoder import Encoder

T5 = dict(vocab_size=1000, d_model=256, d_kv=64, num_heads=4, gain=0.3)
T5XXL = {"encoder.block.23.layer.1.DenseReluDense.wi_1.weight": (10240, 256)}
LLAMA = dict(vocab_size=1000, num_hidden_layers=4, intermediate_size=512, num_attention_heads=2, num_key_value_heads=1)
NORM = "model.layers.0.post_attention_layernorm.weight"
Q_NORM = "model.layers.0.self_attn.q_norm.weight"
FEED_FORWARD_NORM = "model.layers.0.post_feedforward_layernorm.weight"

#: What is said of a case, not of its network's sizes.
TRAITS = ("which", "words", "gain", "options", "captured", "refused", "is_large", "is_repeated")


def shrink_vision():
    """Makes towers of vision small. Their sizes are in ComfyUI's code, not in the files."""
    small = dict(hidden_size=256, intermediate_size=512, depth=2)
    for config in qwen3vl.QWEN3VL_VISION.values():
        config.update(small, deepstack_visual_indexes=[0])
    qwen35.QWEN35_VISION_DEFAULTS.update(small)
    for model in qwen35.QWEN35_MODELS.values():
        if "vision" in model:
            model["vision"].update(small, num_heads=16)
    small = dict(hidden_size=256, intermediate_size=512, num_hidden_layers=2)
    llama.GEMMA3_VISION_CONFIG.update(small, image_size=224)
    gemma4.GEMMA4_VISION_CONFIG.update(small, num_attention_heads=4)
    gemma4.GEMMA4_VISION_31B_CONFIG.update(
        hidden_size=288, intermediate_size=576, num_hidden_layers=1, num_attention_heads=4
    )
    gemma4.GEMMA4_AUDIO_CONFIG.update(small, output_proj_dims=256, num_attention_heads=4)
    tower = qwen_vl.Qwen2VLVisionTransformer
    construct = tower.__init__

    def init(self, *arguments, **options):
        construct(self, *arguments, **(options | dict(num_layers=2, intermediate_size=342)))

    tower.__init__ = init


shrink_vision()


def encoder(name, type, skeleton, rename=None, **sizes):
    """An encoder; what is no trait of the case is a size of its network."""
    traits = {key: sizes.pop(key) for key in TRAITS if key in sizes}
    return Encoder(f"te_{name}", type, skeleton, sizes, rename=rename, **traits)


def beside_vision(name):
    """Names of language models that have a tower of vision beside them."""
    if "lm_head." in name:
        return "lm_head." + name.split("lm_head.")[1]
    if name.startswith("model."):
        return "model.language_model." + name.removeprefix("model.")
    return f"model.{name}" if name.startswith("visual.") else name


CASES = [
    encoder("t5xxl", CLIPType.MOCHI, T5XXL, **T5, is_large=True),
    encoder("t5xxl_sd3", CLIPType.SD3, T5XXL, **T5, is_repeated=True),
    encoder("t5xxl_ltxv", CLIPType.LTXV, T5XXL, **T5, is_repeated=True),
    encoder("t5xxl_chroma", CLIPType.CHROMA, T5XXL, **T5, is_repeated=True),
    encoder("t5xxl_cogvideox", CLIPType.COGVIDEOX, T5XXL, **T5, is_repeated=True),
    encoder("umt5xxl_wan", CLIPType.WAN, T5XXL, **T5, is_large=True),
    encoder(
        "t5xxl_old_cosmos",
        CLIPType.COSMOS,
        {"encoder.block.23.layer.1.DenseReluDense.wi.weight": (512, 256)},
        d_ff=512,
        **T5,
        is_large=True,
    ),
    encoder(
        "t5xl_auraflow",
        CLIPType.STABLE_DIFFUSION,
        {"encoder.block.23.layer.1.DenseReluDense.wi_1.weight": (5120, 256)},
        **T5,
        refused=True,
    ),
    encoder(
        "t5_base_stable_audio",
        CLIPType.STABLE_AUDIO,
        {"encoder.block.0.layer.0.SelfAttention.k.weight": (768, 768)},
        vocab_size=1000,
        num_layers=2,
        refused=True,
    ),
    encoder(
        "umt5_base_ace",
        CLIPType.ACE,
        {"encoder.block.0.layer.0.SelfAttention.k.weight": (768, 768)},
        vocab_size=1000,
        num_layers=2,
        refused=True,
    ),
    encoder(
        "t5gemma_sa3",
        CLIPType.STABLE_AUDIO,
        {"model.encoder.layers.0.pre_self_attn_layernorm.weight": (768,)},
        refused=True,
    ),
    encoder("llama3_hidream", CLIPType.HIDREAM, {NORM: (512,)}, **(LLAMA | dict(num_hidden_layers=4)), hidden_size=512),
    encoder(
        "qwen25_3b_omnigen2",
        CLIPType.OMNIGEN2,
        {"model.layers.0.self_attn.k_proj.bias": (256,)},
        hidden_size=512,
        **(LLAMA | dict(num_attention_heads=4, num_key_value_heads=2)),
    ),
    encoder(
        "qwen25_7b_qwen_image",
        CLIPType.QWEN_IMAGE,
        {"model.layers.0.self_attn.k_proj.bias": (512,)},
        hidden_size=512,
        **(LLAMA | dict(num_attention_heads=4, num_key_value_heads=4)),
    ),
    encoder(
        "qwen25_7b_longcat",
        CLIPType.LONGCAT_IMAGE,
        {"model.layers.0.self_attn.k_proj.bias": (512,)},
        hidden_size=512,
        **(LLAMA | dict(num_attention_heads=4, num_key_value_heads=4)),
        is_repeated=True,
    ),
    encoder("qwen3_06b_anima", CLIPType.STABLE_DIFFUSION, {NORM: (1024,), Q_NORM: (128,)}, hidden_size=1024, **LLAMA),
    encoder("qwen3_2b_ovis", CLIPType.OVIS, {NORM: (2048,), Q_NORM: (128,)}, hidden_size=2048, **LLAMA),
    encoder("qwen3_4b_zimage", CLIPType.STABLE_DIFFUSION, {NORM: (2560,), Q_NORM: (128,)}, hidden_size=2560, **LLAMA),
    encoder(
        "qwen3_4b_klein", CLIPType.FLUX2, {NORM: (2560,), Q_NORM: (128,)}, hidden_size=2560, **LLAMA, is_repeated=True
    ),
    encoder("qwen3_8b_klein", CLIPType.FLUX2, {NORM: (4096,), Q_NORM: (128,)}, hidden_size=4096, **LLAMA),
    encoder("mistral3_flux2", CLIPType.FLUX2, {NORM: (5120,)}, hidden_size=5120, **LLAMA),
    encoder("ministral3_ernie", CLIPType.STABLE_DIFFUSION, {NORM: (3072,)}, hidden_size=3072, **LLAMA),
    encoder("gemma2_2b_lumina", CLIPType.LUMINA2, {FEED_FORWARD_NORM: (2304,)}, hidden_size=2304, **LLAMA),
    encoder("gemma3_4b", CLIPType.LUMINA2, {FEED_FORWARD_NORM: (256,), Q_NORM: (256,)}, hidden_size=256, **LLAMA),
    encoder(
        "gemma3_4b_vision",
        CLIPType.LUMINA2,
        {FEED_FORWARD_NORM: (256,), Q_NORM: (256,), "vision_model.embeddings.patch_embedding.weight": (256, 3, 14, 14)},
        hidden_size=256,
        **LLAMA,
    ),
    encoder(
        "gemma3_12b_ltxv2",
        CLIPType.LTXV,
        {
            FEED_FORWARD_NORM: (256,),
            Q_NORM: (256,),
            "model.layers.47.self_attn.q_norm.weight": (256,),
            "model.layers.5.self_attn.v_proj.weight": (256, 256),
        },
        hidden_size=256,
        gain=0.3,
        **(LLAMA | dict(num_hidden_layers=48)),
        is_large=True,
    ),
    encoder(
        "gemma4_e2b",
        CLIPType.LTXV,
        {FEED_FORWARD_NORM: (256,), "model.layers.34.self_attn.q_norm.weight": (512,)},
        hidden_size=256,
        **(LLAMA | dict(num_hidden_layers=35, hidden_size_per_layer_input=64)),
        gain=0.15,
        is_large=True,
    ),
    encoder(
        "gemma4_12b",
        CLIPType.LTXV,
        {FEED_FORWARD_NORM: (256,), "model.layers.47.self_attn.q_norm.weight": (512,)},
        hidden_size=256,
        gain=0.15,
        **(LLAMA | dict(num_hidden_layers=48)),
        is_large=True,
    ),
    encoder(
        "gpt_oss_20b_lens",
        CLIPType.LENS,
        {"layers.0.self_attn.sinks": (4,), "layers.0.mlp.experts.gate_up_proj.weight": (4, 320, 256)},
        options=dict(
            gpt_oss_config=dict(
                hidden_size=256,
                vocab_size=1000,
                # Rows of an expert fill no whole tile of swizzled scales.
                intermediate_size=160,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                num_local_experts=4,
                # All of them, so that no choice turns on rounding.
                num_experts_per_tok=4,
            )
        ),
        captured=[0, 1],
    ),
    encoder(
        "qwen3vl_4b_krea2",
        CLIPType.KREA2,
        {
            "model.visual.deepstack_merger_list.0.norm.weight": (1024,),
            "model.visual.merger.linear_fc2.weight": (2560, 1024),
        },
        beside_vision,
        hidden_size=2560,
        **LLAMA,
    ),
    encoder(
        "qwen3vl_8b",
        CLIPType.STABLE_DIFFUSION,
        {
            "model.visual.deepstack_merger_list.0.norm.weight": (1024,),
            "model.visual.merger.linear_fc2.weight": (4096, 1024),
        },
        beside_vision,
        hidden_size=4096,
        **LLAMA,
    ),
    encoder(
        "qwen35_2b",
        CLIPType.STABLE_DIFFUSION,
        {
            "model.language_model.layers.0.linear_attn.A_log": (2,),
            "model.language_model.layers.0.input_layernorm.weight": (2048,),
        },
        beside_vision,
        hidden_size=2048,
        **(
            LLAMA
            | dict(
                num_hidden_layers=4,
                layer_types=["linear_attention"] * 3 + ["full_attention"],
                linear_num_key_heads=2,
                linear_num_value_heads=2,
            )
        ),
    ),
    encoder(
        "jina_clip_2",
        CLIPType.NEWBIE,
        {"model.encoder.layers.0.mixer.Wqkv.weight": (3072, 1024)},
        vocab_size=1000,
        num_hidden_layers=2,
        refused=True,
    ),
    encoder(
        "clip_l",
        CLIPType.STABLE_DIFFUSION,
        {"text_model.encoder.layers.0.mlp.fc1.weight": (3072, 768)},
        words=77,
        refused=True,
    ),
]
