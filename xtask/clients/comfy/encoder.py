"""Small text encoders: built by ComfyUI from the few tensors it knows them by, loaded and run alone."""

import json
from dataclasses import dataclass, field
from typing import Any, Callable

import torch

import tree
import comfy.sd
import comfy.sd1_clip
import random_weights
from loaded import Loaded


class Sizes:
    """ComfyUI's sizes of text encoders, which are files beside its code, with some replaced by small ones."""

    def __init__(self):
        self.config = {}
        self.read = []
        construct = comfy.sd1_clip.SDClipModel.__init__
        construct_clip = comfy.sd.CLIP.__init__
        detect = comfy.sd.detect_te_model

        def model_init(model, *arguments, **options):
            config = options.get("textmodel_json_config")
            if config is not None and self.config:
                config = json.load(open(config)) if isinstance(config, str) else dict(config)
                options["textmodel_json_config"] = config | self.config
            construct(model, *arguments, **options)

        def clip_init(clip, target=None, *arguments, **options):
            if target is not None:
                target.tokenizer = lambda **_: None  # no words are read here
            construct_clip(clip, target, *arguments, **options)

        def remembered(tensors):
            self.read.append(detect(tensors))
            return self.read[-1]

        comfy.sd1_clip.SDClipModel.__init__ = model_init
        comfy.sd.CLIP.__init__ = clip_init
        comfy.sd.detect_te_model = remembered

    def begin(self, case):
        """Forgets what was read; from now on the sizes are this case's."""
        self.read.clear()
        self.config = case.config


SIZES = Sizes()


@dataclass
class Encoder:
    """A small text encoder, and words for it."""

    name: str
    type: Any
    """Which model's text encoder it is to be, of `CLIPType`."""
    skeleton: dict
    """Names and shapes of tensors that ComfyUI knows the encoder by."""
    config: dict
    rename: Callable | None = None
    """From the class's names to those of published files."""
    options: dict = field(default_factory=dict)
    gain: float = 1.0
    """Of matrices: deep networks of random matrices do not stay finite otherwise."""
    vocabulary: int = 900
    words: int = 12
    captured: list | None = None
    """Layers whose outputs are what its model reads."""
    which: int = 0
    """Which of several encoders that are loaded together."""
    refused: bool = False
    """ComfyUI has no path for codes here: there must be none."""
    is_large: bool = False
    """It has many layers, by which ComfyUI knows it: two schemes must do."""
    is_repeated: bool = False
    """The network is another case's, told by ComfyUI as another model's: one scheme is enough."""

    kind = "text encoder"
    metadata = None
    #: Random encoders amplify every error, each in its own way.
    tolerance = 3.0

    def rows(self, judge, schemes):
        """A row for each scheme."""
        count = 1 if self.is_repeated else 2 if self.is_large else len(schemes)
        return judge.rows(self, schemes[:count])

    def encoder(self, clip):
        """The one network among those that ComfyUI loads together."""
        wrappers = [module for module in clip.cond_stage_model.modules() if is_wrapper(module)]
        return wrappers[self.which]

    def tensors(self, dtype=torch.bfloat16):
        """The file's tensors."""
        SIZES.begin(self)
        skeleton = {name: torch.zeros(shape, dtype=torch.bfloat16) for name, shape in self.skeleton.items()}
        clip = comfy.sd.load_text_encoder_state_dicts([skeleton], clip_type=self.type, model_options=dict(self.options))
        network = self.encoder(clip).transformer
        tensors = random_weights.tensors_of(network, dtype)
        numbers = torch.Generator().manual_seed(1)
        for name, module in network.named_modules():
            # Modules for codes have no weight before one is loaded.
            if hasattr(module, "_orig_shape") and hasattr(module, "_full_precision_mm"):
                values = torch.randn(module._orig_shape, generator=numbers) * 0.04
                tensors[f"{name}.weight"] = values.bfloat16().to(dtype)
        tensors = {
            name: value * self.gain if value.ndim >= 2 and self.gain != 1 else value for name, value in tensors.items()
        }
        if self.rename:
            tensors = {self.rename(name): value for name, value in tensors.items()}
        return tensors

    def load(self, path):
        """Has ComfyUI open a file."""
        tree.COMPLAINTS.lines.clear()
        SIZES.begin(self)
        clip = comfy.sd.load_clip([str(path)], clip_type=self.type, model_options=dict(self.options))
        network = self.encoder(clip).transformer
        return Loaded(
            network=network,
            class_name=type(network).__name__.rstrip("_"),
            config={"encoder": str(SIZES.read[0])},
            owner=clip,
            complaints=list(tree.COMPLAINTS.lines),
        )

    def output(self, loaded):
        """The encoder's output as one vector."""
        numbers = torch.Generator().manual_seed(3)
        words = torch.randint(5, self.vocabulary, (1, self.words), generator=numbers)
        with torch.no_grad():
            if self.captured is not None:
                mask = torch.ones(1, self.words, dtype=torch.long)
                states = loaded.network(words, attention_mask=mask, capture_layers=self.captured)["hidden_states"]
                return torch.cat([state.float().reshape(-1) for state in states])
            embedded = loaded.network.get_input_embeddings()(words, out_dtype=torch.float32)
            output = loaded.network(
                None,
                torch.ones(1, self.words, dtype=torch.long),
                embeds=embedded.float(),
                num_tokens=[self.words],
                intermediate_output=None,
                final_layer_norm_intermediate=True,
                dtype=torch.float32,
            )
        return output[0].float().reshape(-1)


def is_wrapper(module):
    """Whether a module holds a text encoder's network."""
    return isinstance(module, comfy.sd1_clip.SDClipModel) or type(module).__name__ == "LensGptOssClipModel"
