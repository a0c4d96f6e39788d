"""Every case, by its name."""

import cases_checkpoint
import cases_dialect
import cases_encoder
import cases_flux
import cases_image
import cases_look_alike
import cases_solid
import cases_sound
import cases_unet
import cases_video
import cases_wan
import merge
from at_load import ErrorAdapter, MergedAdapter
from statistics_case import Statistics

MODELS = [cases_unet, cases_flux, cases_image, cases_wan, cases_video, cases_sound, cases_solid, cases_encoder]
OTHERS = [cases_checkpoint, cases_dialect, cases_look_alike, merge]

CASES = {case.name: case for group in MODELS + OTHERS for case in group.CASES}

#: Whose names ComfyUI changes while it loads them, and one whose names it leaves.
for name in ("hunyuan_video_tencent", "wan21_t2v", "flux_dev_ldm_prefix"):
    CASES[f"{name}_statistics"] = Statistics(CASES[name])

#: Whose rounding error is written as an adapter, and that are adapted.
for name in ("flux_dev", "wan21_t2v"):
    CASES |= {case.name: case for case in (ErrorAdapter(CASES[name]), MergedAdapter(CASES[name]))}

#: Why a class of `comfy.supported_models` has no case.
WITHOUT_CASE = {
    "Stable_Zero123": "no case yet: its checkpoint must have a camera's matrix and a CLIP vision tower",
    "SD_X4Upscaler": "no case yet: its noise levels are classes",
    "StableAudio3": "no case yet",
    "ZImagePixelSpace": "no case yet: a decoder of pixels instead of the last layer",
    "HiDreamO1": "no case yet: its language model is of one size, which no file tells",
    "SeedVR2": "told by the names of its 32nd or 36th block and by widths of the published files",
    "MiniMaxMusic3": "no case yet",
    "RT_DETR_v4": "an object detector, recognised by no table here",
    "SAM3": "no case yet: detector and text encoder in one file",
    "SAM31": "no case yet: detector and text encoder in one file",
    "Trellis2": "no case yet: several models in one file",
}
