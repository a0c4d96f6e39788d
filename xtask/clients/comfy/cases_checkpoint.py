"""Whole checkpoints."""

from dataclasses import replace

import cases_encoder
import cases_flux
import cases_image
import cases_sound
import cases_unet
import cases_video
from checkpoint import Checkpoint

OWN = {
    case.name: case
    for group in (cases_unet, cases_image, cases_sound, cases_video, cases_flux, cases_encoder)
    for case in group.CASES
}


def checkpoint(model, encoder, prefix, which=0):
    """A model of Load Checkpoint with an encoder of the same ComfyUI model."""
    return Checkpoint(OWN[model], replace(OWN[encoder], which=which), prefix)


CASES = [
    checkpoint("sd15", "te_clip_l", "cond_stage_model.transformer."),
    checkpoint("sd3_medium", "te_t5xxl_sd3", "text_encoders.t5xxl.transformer.", which=-1),
    checkpoint("flux_dev_ldm_prefix", "te_t5xxl", "text_encoders.t5xxl.transformer.", which=-1),
    checkpoint("ltxv", "te_t5xxl_ltxv", "text_encoders.t5xxl.transformer."),
    checkpoint("auraflow", "te_t5xl_auraflow", "text_encoders.pile_t5xl.transformer."),
    checkpoint("ace_step", "te_umt5_base_ace", "text_encoders.umt5base.transformer."),
    checkpoint("stable_audio_1", "te_t5_base_stable_audio", "conditioner.conditioners.prompt.model."),
]
