"""Wan and its variants."""

import json

from diffusion import Diffusion
from published import LDM

WAN = dict(
    image_model="wan2.1",
    model_type="t2v",
    dim=256,
    out_dim=16,
    num_heads=2,
    ffn_dim=512,
    num_layers=2,
    patch_size=(1, 2, 2),
    freq_dim=256,
    window_size=(-1, -1),
    qk_norm=True,
    cross_attn_norm=True,
    eps=1e-6,
    in_dim=16,
)
WAN_INPUTS = dict(x=(1, 16, 2, 8, 8), context=(1, 16, 4096), time=500)
WM = "ldm.wan.model."


def said(**transformer):
    """A header that tells ComfyUI what the tensors do not."""
    return {"config": json.dumps({"transformer": transformer})}


CASES = [
    Diffusion("wan21_t2v", "ldm.wan.model.WanModel", WAN, **WAN_INPUTS),
    Diffusion("wan22_t2v_prefix", "ldm.wan.model.WanModel", WAN, prefix=LDM, **WAN_INPUTS),
    Diffusion(
        "wan22_5b",
        "ldm.wan.model.WanModel",
        WAN | dict(in_dim=48, out_dim=48),
        **(WAN_INPUTS | dict(x=(1, 48, 2, 8, 8))),
    ),
    Diffusion(
        "wan21_i2v",
        "ldm.wan.model.WanModel",
        WAN | dict(model_type="i2v", in_dim=36),
        **(WAN_INPUTS | dict(x=(1, 36, 2, 8, 8))),
        more=dict(clip_fea=(1, 257, 1280)),
    ),
    Diffusion("wan22_i2v", "ldm.wan.model.WanModel", WAN | dict(in_dim=36), **(WAN_INPUTS | dict(x=(1, 36, 2, 8, 8)))),
    Diffusion(
        "wan21_flf2v",
        "ldm.wan.model.WanModel",
        WAN | dict(model_type="i2v", in_dim=36, flf_pos_embed_token_number=514),
        **(WAN_INPUTS | dict(x=(1, 36, 2, 8, 8))),
        more=dict(clip_fea=(1, 514, 1280)),
    ),
    Diffusion(
        "wan21_fun_control",
        "ldm.wan.model.WanModel",
        WAN | dict(model_type="i2v", in_dim=48),
        **(WAN_INPUTS | dict(x=(1, 48, 2, 8, 8))),
        more=dict(clip_fea=(1, 257, 1280)),
    ),
    Diffusion(
        "wan21_vace",
        "ldm.wan.model.VaceWanModel",
        WAN | dict(model_type="vace", vace_in_dim=96, vace_layers=1),
        **WAN_INPUTS,
        more=dict(vace_context=(1, 1, 96, 2, 8, 8), vace_strength=[1.0]),
    ),
    Diffusion(
        "wan21_camera",
        "ldm.wan.model.CameraWanModel",
        WAN | dict(model_type="camera", in_dim=32),
        **(WAN_INPUTS | dict(x=(1, 32, 1, 8, 8))),
        more=dict(clip_fea=(1, 257, 1280), camera_conditions=(1, 24, 1, 64, 64)),
    ),
    Diffusion(
        "wan22_s2v",
        "ldm.wan.model.WanModel_S2V",
        WAN | dict(model_type="s2v"),
        hidden=dict(audio_inject_layers=[0, 1]),
        **WAN_INPUTS,
        more=dict(audio_embed=(1, 25, 1024, 8)),
    ),
    Diffusion(
        "wan21_humo",
        "ldm.wan.model.HumoWanModel",
        WAN | dict(model_type="humo", in_dim=36),
        **(WAN_INPUTS | dict(x=(1, 36, 2, 8, 8))),
        more=dict(audio_embed=(1, 2, 8, 5, 1280)),
    ),
    Diffusion(
        "wan22_animate",
        "ldm.wan.model_animate.AnimateWanModel",
        WAN | dict(model_type="animate", in_dim=36, num_layers=5),
        **(WAN_INPUTS | dict(x=(1, 36, 2, 8, 8))),
        more=dict(clip_fea=(1, 257, 1280), pose_latents=(1, 16, 1, 8, 8), face_pixel_values=(1, 3, 4, 512, 512)),
    ),
    Diffusion(
        "wan_scail",
        "ldm.wan.model.SCAILWanModel",
        WAN | dict(model_type="scail", in_dim=20),
        **(WAN_INPUTS | dict(x=(1, 20, 2, 8, 8))),
        more=dict(clip_fea=(1, 257, 1280), pose_latents=(1, 20, 2, 4, 4)),
    ),
    Diffusion(
        "wan_dancer",
        "ldm.wan.model_wandancer.WanDancerModel",
        WAN | dict(model_type="wandancer", in_dim=36),
        hidden=dict(audio_inject_layers=[0, 1], music_latent_dim=256),
        **(WAN_INPUTS | dict(x=(1, 36, 2, 8, 8))),
        more=dict(clip_fea=(1, 257, 1280), clip_fea_ref=(1, 257, 1280)),
    ),
    Diffusion(
        "wan_scail2",
        "ldm.wan.model.SCAIL2WanModel",
        WAN | dict(model_type="scail2", in_dim=20),
        **(WAN_INPUTS | dict(x=(1, 20, 2, 8, 8))),
        more=dict(clip_fea=(1, 257, 1280)),
    ),
    Diffusion(
        "wan22_camera",
        "ldm.wan.model.CameraWanModel",
        WAN | dict(model_type="camera_2.2", in_dim=36),
        **(WAN_INPUTS | dict(x=(1, 36, 1, 8, 8))),
        more=dict(camera_conditions=(1, 24, 1, 64, 64)),
    ),
    Diffusion(
        "wan21_flow_rvs",
        "ldm.wan.model.WanModel",
        {key: value for key, value in WAN.items() if key != "model_type"},
        metadata=said(model_type="flow_rvs"),
        **WAN_INPUTS,
    ),
    Diffusion("wan21_causal", "ldm.wan.ar_model.CausalWanModel", WAN, metadata=said(causal_ar=True), **WAN_INPUTS),
    Diffusion(
        "wan_animate2",
        "ldm.wan.model_animate2.WanAnimate2Model",
        WAN | dict(model_type="animate2", in_dim=36),
        metadata=said(model_type="animate2"),
        **(WAN_INPUTS | dict(x=(1, 36, 2, 8, 8))),
        more=dict(clip_fea=(1, 257, 1280)),
    ),
]
