"""Models under the names of other dialects, for every table of names."""

from dataclasses import replace

import tree  # noqa: F401
import comfy.utils

import cases_encoder
import cases_flux
import cases_image
import cases_unet
import cases_video
import cases_wan
from dialects import by_comfyui, by_diffusers, by_table
from llama_cpp import written
from published import tencent
from translation import Translation

OWN = {
    case.name: case
    for group in (cases_flux, cases_image, cases_unet, cases_video, cases_wan, cases_encoder)
    for case in group.CASES
}


def comfyui(name, table, key_map):
    """A case under names that ComfyUI has a map for, and reads itself."""
    return Translation(OWN[name], table, by_comfyui(key_map), is_read_by_comfyui=True)


def diffusers(name, table, function, **options):
    """A case under the names that diffusers gives it, which are of the diffusion model alone."""
    return Translation(replace(OWN[name], is_checkpoint=False), table, by_diffusers(function, **options))


def unet(name, is_read_by_comfyui=True):
    """A UNet under diffusers' names, of which ComfyUI knows some by their published numbers of blocks."""
    config = OWN[name].config
    renamed = by_comfyui(lambda: comfy.utils.unet_to_diffusers(config))
    return Translation(OWN[name], "unet", renamed, is_read_by_comfyui=is_read_by_comfyui)


def of_flux():
    return comfy.utils.flux_to_diffusers(cases_flux.FLUX)


def of_sd3():
    return comfy.utils.mmdit_to_diffusers({"depth": 4, "num_blocks": 4})


def of_zimage():
    return comfy.utils.z_image_to_diffusers({"n_layers": 2, "dim": 3840})


def of_auraflow():
    return comfy.utils.auraflow_to_diffusers({"n_double_layers": 1, "n_layers": 3})


def gguf(name, table, architecture, blocks, heads=None):
    """A text encoder in a file of llama.cpp's."""
    write = written(architecture, blocks, heads)
    return Translation(OWN[name], table, lambda tensors: tensors, write=write, suffix="gguf")


#: PixArt of the published width, which ComfyUI takes for granted where it renames.
PIXART = cases_image.pixart("sigma", hidden_size=1152, num_heads=16, depth=1)


def of_pixart():
    return comfy.utils.pixart_to_diffusers({"depth": 1})


#: Positions of a first and a last picture.
FIRST_AND_LAST = {"img_emb.emb_pos": "condition_embedder.image_embedder.pos_embed"}


CASES = [
    comfyui("flux_dev", "flux", of_flux),
    comfyui("sd3_medium", "sd3", of_sd3),
    comfyui("zimage", "zimage", of_zimage),
    comfyui("auraflow", "auraflow", of_auraflow),
    Translation(PIXART, "pixart", by_comfyui(of_pixart), is_read_by_comfyui=True),
    unet("sd15_bare_unet", is_read_by_comfyui=False),
    unet("sd21", is_read_by_comfyui=False),
    unet("sdxl"),
    unet("sdxl_refiner"),
    unet("koala_700m"),
    diffusers("sd35_medium", "sd3", "convert_sd3_transformer_checkpoint_to_diffusers"),
    diffusers("flux2_dev", "flux2", "convert_flux2_transformer_checkpoint_to_diffusers"),
    diffusers("flux2_klein", "flux2", "convert_flux2_transformer_checkpoint_to_diffusers"),
    diffusers("chroma", "chroma", "convert_chroma_transformer_checkpoint_to_diffusers", width=(3072, 256)),
    diffusers("lumina2", "lumina2", "convert_lumina2_to_diffusers"),
    diffusers("wan21_t2v", "wan", "convert_wan_transformer_to_diffusers"),
    diffusers("wan21_i2v", "wan", "convert_wan_transformer_to_diffusers"),
    diffusers("wan21_flf2v", "wan", "convert_wan_transformer_to_diffusers", also=FIRST_AND_LAST),
    diffusers("wan21_vace", "wan", "convert_wan_transformer_to_diffusers"),
    diffusers(
        "hunyuan_video_tencent", "hunyuan_video", "convert_hunyuan_video_transformer_to_diffusers", width=(3072, 256)
    ),
    diffusers("ltxv", "ltx_video", "convert_ltx_transformer_checkpoint_to_diffusers"),
    diffusers("mochi", "mochi", "convert_mochi_transformer_checkpoint_to_diffusers", width=(48, 2)),
    Translation(OWN["cosmos1_7b"], "cosmos", by_table("cosmos")),
    diffusers("cosmos_predict2", "cosmos_predict2", "convert_cosmos_transformer_checkpoint_to_diffusers"),
    Translation(replace(OWN["hunyuan_video_15"], rename=tencent), "hunyuan_video_15", by_table("hunyuan_video_15")),
    Translation(OWN["cogvideox_2b"], "cogvideox", by_table("cogvideox")),
    gguf("te_t5xxl", "t5_gguf", "t5encoder", 24),
    gguf("te_umt5xxl_wan", "t5_gguf", "t5encoder", 24),
    gguf("te_llama3_hidream", "llama", "llama", 4, heads=(2, 1)),
    gguf("te_mistral3_flux2", "llama", "llama", 4, heads=(2, 1)),
    gguf("te_qwen3_4b_zimage", "qwen_gguf", "qwen3", 4),
]
