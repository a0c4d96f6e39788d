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
WITHOUT_CASE = {}
