"""Names of published files where they are not those of ComfyUI's classes."""

import re

#: Before the names of a diffusion model in files of Load Checkpoint.
LDM = "model.diffusion_model."


def scales(*ends):
    """Norms that are called `scale` in published files."""
    ends = tuple(f"{end}.weight" for end in ends)
    return lambda name: name.removesuffix("weight") + "scale" if name.endswith(ends) else name


#: FLUX's norms of q and k.
qk_scales = scales("query_norm", "key_norm")


def chroma(*ends):
    """Names of Chroma, whose guidance layers have norms of the same spelling."""
    rename = scales("query_norm", "key_norm", *ends)
    return lambda name: name.removesuffix("weight") + "scale" if ".norms." in name else rename(name)


#: Tencent's names of Hunyuan Video, ComfyUI's on the left.
TENCENT = [
    (r"txt_in\.t_embedder\.in_layer\.", "txt_in.t_embedder.mlp.0."),
    (r"txt_in\.t_embedder\.out_layer\.", "txt_in.t_embedder.mlp.2."),
    (r"txt_in\.c_embedder\.in_layer\.", "txt_in.c_embedder.linear_1."),
    (r"txt_in\.c_embedder\.out_layer\.", "txt_in.c_embedder.linear_2."),
    (r"(img|txt)_mod\.lin\.", r"\1_mod.linear."),
    (r"(img|txt)_attn\.(qkv|proj)\.", r"\1_attn_\2."),
    (r"(img|txt)_attn\.norm\.query_norm", r"\1_attn_q_norm"),
    (r"(img|txt)_attn\.norm\.key_norm", r"\1_attn_k_norm"),
    (r"\.modulation\.lin\.", ".modulation.linear."),
    (r"(single_blocks\.\d+)\.norm\.query_norm", r"\1.q_norm"),
    (r"(single_blocks\.\d+)\.norm\.key_norm", r"\1.k_norm"),
    (r"^(time_in|guidance_in)\.in_layer\.", r"\1.mlp.0."),
    (r"^(time_in|guidance_in)\.out_layer\.", r"\1.mlp.2."),
    (r"(token_refiner\.blocks\.\d+)\.self_attn\.(qkv|proj)", r"\1.self_attn_\2"),
    (r"((?:(?:img|txt)_|token_refiner\.blocks\.\d+\.)mlp)\.0\.", r"\1.fc1."),
    (r"((?:(?:img|txt)_|token_refiner\.blocks\.\d+\.)mlp)\.2\.", r"\1.fc2."),
]


def tencent(name):
    """A name of ComfyUI's class of Hunyuan Video as Tencent has it."""
    for ours, theirs in TENCENT:
        name = re.sub(ours, theirs, name)
    return name
