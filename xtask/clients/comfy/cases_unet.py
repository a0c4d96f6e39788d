"""UNets of Stable Diffusion."""

import torch

from diffusion import Diffusion
from published import LDM

COMMON = dict(
    use_checkpoint=False,
    image_size=32,
    use_spatial_transformer=True,
    legacy=False,
    use_temporal_resblock=False,
    use_temporal_attention=False,
    out_channels=4,
)
OVER_TIME = dict(
    extra_ff_mix_layer=True,
    use_spatial_context=True,
    merge_strategy="learned_with_images",
    merge_factor=0.0,
    video_kernel_size=[3, 1, 1],
    use_temporal_resblock=True,
    use_temporal_attention=True,
    disable_temporal_crossattention=False,
)
EIGHT_HEADS = dict(num_heads=8, num_head_channels=-1)


def unet(
    name,
    channels,
    in_channels,
    levels,
    blocks,
    depths,
    depths_out,
    middle,
    context,
    *,
    vector=None,
    linear=False,
    heads=None,
    over_time=None,
    x=None,
    more=None,
    prefix=LDM,
    is_checkpoint=False,
):
    """A UNet of so many blocks at each of its levels, with transformers of these depths."""
    x = x or (1, in_channels, 16, 16)
    config = COMMON | dict(
        in_channels=in_channels,
        model_channels=channels,
        num_res_blocks=blocks,
        transformer_depth=depths,
        transformer_depth_output=depths_out,
        channel_mult=levels,
        transformer_depth_middle=middle,
        use_linear_in_transformer=linear,
        context_dim=context,
        adm_in_channels=vector,
    )
    more = more or {}
    if vector:
        config["num_classes"] = "sequential"
        more = more | dict(y=(x[0], vector))
    return Diffusion(
        name,
        "ldm.modules.diffusionmodules.openaimodel.UNetModel",
        config | (over_time or {}),
        hidden=heads or dict(num_heads=-1, num_head_channels=64),
        x=x,
        time=500,
        context=(x[0], 9, context),
        more=more,
        prefix=prefix,
        is_checkpoint=is_checkpoint,
        is_large=len(levels) > 2,
    )


def over_time(name, vector):
    """A UNet of two frames."""
    return unet(
        name,
        320,
        8,
        [1, 1, 1, 1],
        [2, 2, 2, 2],
        [1, 1, 1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
        1,
        1024,
        vector=vector,
        linear=True,
        over_time=OVER_TIME,
        x=(2, 8, 16, 16),
        more=dict(num_video_frames=2, image_only_indicator=torch.zeros(1, 2)),
        is_checkpoint=True,
    )


CASES = [
    unet("sd15", 320, 4, [1, 1], [1, 1], [1, 1], [1, 1, 1, 1], 1, 768, heads=EIGHT_HEADS),
    unet("sd15_bare_unet", 320, 4, [1, 1], [1, 1], [1, 1], [1, 1, 1, 1], 1, 768, heads=EIGHT_HEADS, prefix=""),
    unet("sd15_inpaint", 320, 9, [1, 1], [1, 1], [1, 1], [1, 1, 1, 1], 1, 768, heads=EIGHT_HEADS),
    unet("sd21", 320, 4, [1, 1], [1, 1], [1, 1], [1, 1, 1, 1], 1, 1024, linear=True),
    unet(
        "sdxl",
        320,
        4,
        [1, 1, 1],
        [2, 2, 2],
        [0, 0, 2, 2, 10, 10],
        [0, 0, 0, 1, 1, 1, 1, 1, 1],
        1,
        2048,
        vector=2816,
        linear=True,
    ),
    unet(
        "sdxl_refiner",
        384,
        4,
        [1, 1, 1, 1],
        [2, 2, 2, 2],
        [0, 0, 4, 4, 4, 4, 0, 0],
        [0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0],
        1,
        1280,
        vector=2560,
        linear=True,
    ),
    unet(
        "segmind_vega",
        320,
        4,
        [1, 1, 1],
        [2, 2, 2],
        [0, 0, 1, 1, 2, 2],
        [0, 0, 0, 1, 1, 1, 2, 2, 2],
        -1,
        2048,
        vector=2816,
        linear=True,
    ),
    unet("koala_700m", 320, 4, [1, 1, 1], [1, 1, 1], [0, 2, 5], [0, 0, 2, 2, 5, 5], -2, 2048, vector=2816, linear=True),
    over_time("svd", vector=768),
    over_time("sv3d_u", vector=256),
    over_time("sv3d_p", vector=1280),
    unet("sd15_pix2pix", 320, 8, [1, 1], [1, 1], [1, 1], [1, 1, 1, 1], 1, 768, heads=EIGHT_HEADS),
    unet("sd21_unclip_l", 320, 4, [1, 1], [1, 1], [1, 1], [1, 1, 1, 1], 1, 1024, vector=1536, linear=True),
    unet("sd21_unclip_h", 320, 4, [1, 1], [1, 1], [1, 1], [1, 1, 1, 1], 1, 1024, vector=2048, linear=True),
    unet("lotus_d", 320, 4, [1, 1], [1, 1], [1, 1], [1, 1, 1, 1], 1, 1024, vector=4, linear=True, prefix=""),
    unet(
        "sdxl_pix2pix",
        320,
        8,
        [1, 1, 1],
        [2, 2, 2],
        [0, 0, 2, 2, 10, 10],
        [0, 0, 0, 1, 1, 1, 1, 1, 1],
        1,
        2048,
        vector=2816,
        linear=True,
    ),
    unet(
        "ssd_1b",
        320,
        4,
        [1, 1, 1],
        [2, 2, 2],
        [0, 0, 2, 2, 4, 4],
        [0, 0, 0, 1, 1, 2, 4, 4, 4],
        -1,
        2048,
        vector=2816,
        linear=True,
    ),
    unet("koala_1b", 320, 4, [1, 1, 1], [1, 1, 1], [0, 2, 6], [0, 0, 2, 2, 6, 6], 6, 2048, vector=2816, linear=True),
]
