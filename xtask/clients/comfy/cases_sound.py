"""Models of sound."""

import torch

from diffusion import Diffusion
from published import LDM


def with_seconds(tensors):
    """Adds the embeddings of lengths, which Load Checkpoint asks for."""
    numbers = torch.Generator().manual_seed(2)
    for name in ("seconds_start", "seconds_total"):
        prefix = f"conditioner.conditioners.{name}.embedder.embedding."
        tensors[f"{prefix}0.weights"] = torch.randn(128, generator=numbers)
        tensors[f"{prefix}1.weight"] = torch.randn(768, 257, generator=numbers) * 0.04
        tensors[f"{prefix}1.bias"] = torch.zeros(768)


CASES = [
    Diffusion(
        "stable_audio_1",
        "ldm.audio.dit.AudioDiffusionTransformer",
        dict(
            audio_model="dit1.0",
            global_cond_dim=1536,
            project_cond_tokens=False,
            embed_dim=768,
            timestep_features_type="learned",
            io_channels=64,
            input_concat_dim=0,
            depth=2,
            num_heads=12,
        ),
        prefix="model.model.",
        added=with_seconds,
        x=(1, 64, 32),
        context=(1, 9, 768),
        more=dict(global_embed=(1, 1536)),
        time=0.5,
        is_checkpoint=True,
        absent=r"(cross_attend_norm|ff_norm|pre_norm)\.beta$",
    ),
    Diffusion(
        "ace_step",
        "ldm.ace.model.ACEStepTransformer2DModel",
        dict(
            audio_model="ace",
            attention_head_dim=64,
            in_channels=8,
            inner_dim=256,
            max_height=16,
            max_position=32768,
            max_width=32768,
            mlp_ratio=2.5,
            num_attention_heads=4,
            num_layers=2,
            out_channels=8,
            patch_size=[16, 1],
            rope_theta=1e6,
            speaker_embedding_dim=512,
            text_embedding_dim=768,
            ssl_encoder_depths=[2, 2],
            ssl_latent_dims=[256, 128],
            ssl_names=["mert", "m-hubert"],
            lyric_encoder_vocab_size=6693,
            lyric_hidden_size=1024,
        ),
        x=(1, 8, 16, 32),
        context=(1, 9, 768),
        more=dict(speaker_embeds=torch.zeros(1, 512), lyric_token_idx=torch.arange(12).reshape(1, 12)),
        time=0.5,
        prefix=LDM,
    ),
    Diffusion(
        "ace_step_15",
        "ldm.ace.ace_step15.AceStepConditionGenerationModel",
        dict(
            audio_model="ace1.5",
            hidden_size=256,
            intermediate_size=512,
            num_heads=2,
            encoder_hidden_size=256,
            encoder_num_heads=2,
            encoder_intermediate_size=512,
            num_dit_layers=2,
        ),
        hidden=dict(
            num_kv_heads=1,
            num_lyric_layers=1,
            num_timbre_layers=1,
            num_tokenizer_layers=1,
            text_hidden_dim=1024,
            fsq_dim=256,
        ),
        x=(1, 64, 40),
        context=(1, 9, 1024),
        more=dict(lyric_embed=(1, 7, 1024), refer_audio=(1, 64, 40)),
        time=0.5,
        prefix=LDM,
    ),
]
