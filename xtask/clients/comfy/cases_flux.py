"""FLUX and what was made of it."""

import torch

from diffusion import Diffusion
from published import LDM, chroma, qk_scales

FLUX = dict(
    image_model="flux",
    in_channels=16,
    out_channels=16,
    vec_in_dim=768,
    context_in_dim=4096,
    hidden_size=256,
    mlp_ratio=4.0,
    num_heads=2,
    depth=2,
    depth_single_blocks=2,
    axes_dim=[16, 56, 56],
    theta=10000,
    patch_size=2,
    qkv_bias=True,
    guidance_embed=True,
    txt_ids_dims=[],
    yak_mlp=False,
    txt_norm=False,
)
FLUX_INPUTS = dict(
    x=(1, 16, 16, 16), context=(1, 24, 4096), more=dict(y=(1, 768), guidance=torch.tensor([3.5])), rename=qk_scales
)
FLUX2 = dict(
    image_model="flux2",
    axes_dim=[32, 32, 32, 32],
    num_heads=2,
    mlp_ratio=3.0,
    theta=2000,
    out_channels=128,
    global_modulation=True,
    mlp_silu_act=True,
    qkv_bias=False,
    ops_bias=False,
    default_ref_method="index",
    ref_index_scale=10.0,
    txt_ids_dims=[3],
    in_channels=128,
    hidden_size=256,
    context_in_dim=512,
    patch_size=1,
    vec_in_dim=None,
    depth=2,
    depth_single_blocks=2,
    guidance_embed=True,
    yak_mlp=False,
    txt_norm=False,
)
CHROMA = dict(
    image_model="chroma",
    in_channels=64,
    out_channels=64,
    context_in_dim=4096,
    hidden_size=256,
    mlp_ratio=4.0,
    num_heads=2,
    depth=2,
    depth_single_blocks=2,
    axes_dim=[16, 56, 56],
    theta=10000,
    patch_size=2,
    qkv_bias=True,
    in_dim=64,
    out_dim=256,
    hidden_dim=320,
    n_layers=5,
    txt_ids_dims=[],
    vec_in_dim=None,
)

CASES = [
    Diffusion("flux_dev", "ldm.flux.model.Flux", FLUX, **FLUX_INPUTS),
    Diffusion("flux_dev_ldm_prefix", "ldm.flux.model.Flux", FLUX, prefix=LDM, **FLUX_INPUTS),
    Diffusion(
        "flux_schnell",
        "ldm.flux.model.Flux",
        FLUX | dict(guidance_embed=False),
        **(FLUX_INPUTS | dict(more=dict(y=(1, 768)))),
    ),
    Diffusion(
        "flux_fill", "ldm.flux.model.Flux", FLUX | dict(in_channels=96), **(FLUX_INPUTS | dict(x=(1, 96, 16, 16)))
    ),
    Diffusion(
        "flux_kontext_dimr",
        "ldm.flux.model.Flux",
        FLUX,
        **(FLUX_INPUTS | dict(more=dict(y=(1, 768), guidance=torch.tensor([3.5]), ref_latents=[(1, 16, 8, 8)]))),
    ),
    Diffusion(
        "longcat_image",
        "ldm.flux.model.Flux",
        FLUX | dict(vec_in_dim=None, context_in_dim=3584, guidance_embed=False, txt_ids_dims=[1, 2]),
        **(FLUX_INPUTS | dict(context=(1, 24, 3584), more={}, rename=None)),
    ),
    Diffusion(
        "ovis_image",
        "ldm.flux.model.Flux",
        FLUX
        | dict(
            vec_in_dim=None, context_in_dim=2048, guidance_embed=False, yak_mlp=True, txt_norm=True, txt_ids_dims=[1, 2]
        ),
        **(FLUX_INPUTS | dict(context=(1, 24, 2048), more={})),
    ),
    Diffusion(
        "flux2_dev",
        "ldm.flux.model.Flux",
        FLUX2,
        x=(1, 128, 8, 8),
        context=(1, 24, 512),
        more=dict(guidance=torch.tensor([3.5])),
        rename=qk_scales,
    ),
    Diffusion(
        "flux2_klein",
        "ldm.flux.model.Flux",
        FLUX2 | dict(guidance_embed=False),
        x=(1, 128, 8, 8),
        context=(1, 24, 512),
        rename=qk_scales,
    ),
    Diffusion(
        "chroma",
        "ldm.chroma.model.Chroma",
        CHROMA,
        x=(1, 16, 16, 16),
        context=(1, 24, 4096),
        more=dict(guidance=torch.tensor([0.0])),
        rename=chroma(),
    ),
    Diffusion(
        "chroma_radiance",
        "ldm.chroma_radiance.model.ChromaRadiance",
        CHROMA
        | dict(
            image_model="chroma_radiance",
            in_channels=3,
            out_channels=3,
            patch_size=16,
            nerf_hidden_size=64,
            nerf_mlp_ratio=4,
            nerf_depth=4,
            nerf_max_freqs=8,
            nerf_tile_size=512,
            nerf_final_head_type="conv",
            nerf_embedder_dtype=torch.float32,
            use_x0=False,
            use_sequential_txt_ids=False,
        ),
        x=(1, 3, 64, 64),
        context=(1, 24, 4096),
        more=dict(guidance=torch.tensor([0.0])),
        rename=chroma("norm"),
    ),
]
