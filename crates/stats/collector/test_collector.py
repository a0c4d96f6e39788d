"""Checks the collector against sums taken in F64: `python test_collector.py`. Needs torch and
safetensors."""

import contextlib
import io
import math
import sys
import tempfile
import types
import unittest
from pathlib import Path
from unittest import mock

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import safetensors
import torch

import roundwise_collect
from roundwise_collect import collect

# F32 products against F64 ones, of inputs of size 1 to 10.
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


class Small(torch.nn.Module):
    """Layers that share inputs, layers that do not, and convolutions of every kind."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.query = torch.nn.Linear(24, 24)
        self.key = torch.nn.Linear(24, 24)
        self.out = torch.nn.Linear(24, 64)
        self.wide = torch.nn.Linear(64, 8)
        self.conv = torch.nn.Conv2d(
            4, 6, (3, 2), stride=(2, 1), padding=1, dilation=(1, 2), groups=2
        )
        self.same = torch.nn.Conv2d(6, 3, 3, padding="same", padding_mode="reflect")
        self.unused = torch.nn.Linear(5, 5)
        self.tied = torch.nn.Linear(24, 24)
        self.tied.weight = self.query.weight

    def forward(self, x, image=None, key=None):
        hidden = self.query(x) + self.key(x if key is None else key)
        hidden = torch.relu(self.wide(torch.relu(self.out(hidden))))
        if image is not None:
            self.same(self.conv(image))
        return hidden


class Exact:
    """Keeps every input of a layer, in F64."""

    def __init__(self, module):
        self.rows, self.module = [], module
        self.handle = module.register_forward_pre_hook(self.hook)

    def hook(self, module, arguments):
        x = arguments[0].detach().double()
        if isinstance(module, torch.nn.Conv2d):
            # The library's own unfold, each group by itself.
            pad = module._reversed_padding_repeated_twice
            mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
            x = torch.nn.functional.pad(x, pad, mode=mode)
            parts = x.chunk(module.groups, dim=1)
            unfold = torch.nn.functional.unfold
            x = torch.cat(
                [
                    unfold(part, module.kernel_size, module.dilation, 0, module.stride).transpose(1, 2)
                    for part in parts
                ]
            )
        self.rows.append(x.reshape(-1, x.shape[-1]))

    def all(self):
        return torch.cat(self.rows)


def read(path):
    with safetensors.safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()


def second_moment(tensors, name):
    mean = tensors[f"{name}.mean"].double()
    if f"{name}.covariance" in tensors:
        return tensors[f"{name}.covariance"].double() + torch.outer(mean, mean)
    factor = tensors[f"{name}.factor"].double()
    residual = tensors[f"{name}.second_moment"].double() - factor.square().sum(1)
    return factor @ factor.T + torch.diag(residual.clamp(min=0))


def moment(tensors, name, prefix):
    """A mixed or weighted second moment as the file has it."""
    if f"{name}.{prefix}_moment" in tensors:
        return tensors[f"{name}.{prefix}_moment"].double()
    factor = tensors[f"{name}.{prefix}_factor"].double()
    residual = tensors[f"{name}.{prefix}_second_moment"].double() - factor.square().sum(1)
    return factor @ factor.T + torch.diag(residual.clamp(min=0))


def batches(seed, count=6):
    """Inputs with a mean far from 0 and a few strong directions."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(24, 24, generator=torch.Generator().manual_seed(9))
    for index in range(count):
        x = torch.randn(3, 7 + index, 24, generator=generator) @ mix * 0.2 + 5
        yield x, torch.randn(2, 4, 9, 8, generator=generator)


class CollectorTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "small.stats.safetensors"
        self.model = Small()
        self.exact = {
            name: Exact(module)
            for name, module in self.model.named_modules()
            if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d))
        }

    def run_model(self, seed=0, count=6):
        with torch.no_grad():
            for x, image in batches(seed, count):
                self.model(x, image)

    def check(self, name, tensors):
        rows = self.exact[name].all()
        self.assertEqual(tensors[f"{name}.count"].tolist(), [len(rows)])
        torch.testing.assert_close(tensors[f"{name}.mean"].double(), rows.mean(0), **CLOSE)
        exact = rows.T @ rows / len(rows)
        diagonal = tensors[f"{name}.second_moment"].double()
        torch.testing.assert_close(diagonal, exact.diagonal(), **CLOSE)
        torch.testing.assert_close(tensors[f"{name}.largest"].double(), rows.abs().amax()[None], **CLOSE)
        return exact

    def check_full(self, names, tensors):
        for name in names:
            exact = self.check(name, tensors)
            torch.testing.assert_close(second_moment(tensors, name), exact, **CLOSE)

    def test_full_matrices_are_exact(self):
        with collect(self.model) as collector:
            self.run_model()
        collector.save(self.path)
        tensors, metadata = read(self.path)
        self.check_full(["query", "key", "out", "wide", "conv", "same"], tensors)
        self.assertFalse([name for name in tensors if name.startswith(("unused", "tied"))])
        self.assertIn("conv 6 12\n", metadata["layers"])
        self.assertEqual(metadata["samples"], str(max(map(len, map(Exact.all, self.called())))))

    def called(self):
        return [exact for exact in self.exact.values() if exact.rows]

    def test_layers_with_the_same_inputs_share_their_sums(self):
        with collect(self.model) as collector:
            self.run_model()
            groups = {layer.name: layer.group for layer in collector.layers}
            self.assertIs(groups["query"], groups["key"])

    def test_layers_part_when_their_inputs_do(self):
        with collect(self.model) as collector, torch.no_grad():
            self.run_model()
            for x, image in batches(1):
                self.model(x, image, key=x + 1)
            # Called by itself, once more than the other.
            self.model.query(x - 1)
        collector.save(self.path)
        self.check_full(["query", "key"], read(self.path)[0])

    def test_a_sketch_finds_the_strong_directions(self):
        with collect(self.model, full_limit=0, rank=12) as collector:
            self.run_model()
        collector.save(self.path)
        tensors, _ = read(self.path)
        for name in ["query", "out", "wide"]:
            exact = self.check(name, tensors)
            self.assertEqual(tensors[f"{name}.factor"].shape[1], 12)
            values = torch.linalg.eigvalsh(exact)
            best = values[:-12].square().sum().sqrt()
            factor = tensors[f"{name}.factor"].double()
            found = (factor @ factor.T - exact).norm()
            # Twice the best: the bound for a sketch of twice the rank.
            self.assertLessEqual(found, 2 * best + 1e-4 * exact.norm(), name)

    def test_memory_is_bounded_by_sketching(self):
        sketched = collect(self.model, full_limit=0, rank=2)
        sketched.stop()
        # Room for the narrow layers' matrices only.
        memory = sketched.most_bytes + 300_000
        with collect(self.model, memory=memory, rank=2) as collector:
            self.run_model()
            self.assertLessEqual(collector.most_bytes, memory)
            self.assertLessEqual(collector.memory_bytes(), memory)
            kinds = {layer.name: layer.kind for layer in collector.layers}
        self.assertEqual((kinds["query"], kinds["wide"]), ("full", "factor"))

    def test_going_on_equals_one_run(self):
        for options in [{}, {"full_limit": 0, "rank": 24}]:
            with self.subTest(options):
                for exact in self.exact.values():
                    exact.rows.clear()
                self.path.unlink(missing_ok=True)
                for seed in (1, 2, 3):
                    with collect(self.model, resume=self.path, **options) as collector:
                        self.run_model(seed)
                    collector.save(self.path)
                tensors, _ = read(self.path)
                self.check_full(["query", "key"], tensors)
                self.assertIs(collector.layers[0].group, collector.layers[1].group)

    def test_layers_that_are_not_called_again_stay(self):
        with collect(self.model) as collector:
            self.run_model()
        collector.save(self.path)
        before = read(self.path)[0]
        with collect(self.model, resume=self.path) as collector, torch.no_grad():
            self.model.wide(torch.ones(3, 64))
        collector.save(self.path)
        tensors, _ = read(self.path)
        self.check_full(["wide"], tensors)
        self.assertEqual(set(before), set(tensors))
        torch.testing.assert_close(before["conv.covariance"], tensors["conv.covariance"])

    def test_another_model_is_refused(self):
        with collect(self.model) as collector:
            self.run_model(count=1)
        collector.save(self.path)
        self.model.wide = torch.nn.Linear(64, 9)
        with self.assertRaisesRegex(ValueError, "wide.*another model"):
            collect(self.model, resume=self.path)

    def test_saving_does_not_disturb(self):
        with collect(self.model) as collector:
            self.run_model(1)
            collector.save(self.path)
            self.run_model(2)
        collector.save(self.path)
        self.check_full(["query", "conv"], read(self.path)[0])

    def test_the_same_inputs_make_the_same_file(self):
        files = []
        for _ in range(2):
            with collect(self.model, full_limit=24, rank=4) as collector:
                self.run_model()
            collector.save(self.path)
            files.append(self.path.read_bytes())
        self.assertEqual(*files)

    def test_masked_tokens_do_not_count(self):
        mask = torch.tensor([[True, True, False], [True, False, False]])
        x = torch.randn(2, 3, 24)
        with collect(self.model) as collector, torch.no_grad():
            collector.mask = mask
            self.model(x)
        collector.save(self.path)
        tensors, _ = read(self.path)
        self.assertEqual(tensors["query.count"].tolist(), [3])
        torch.testing.assert_close(tensors["query.mean"], x[mask].mean(0), **CLOSE)

    def test_rows_that_are_not_finite_do_not_count(self):
        for limit in (4096, 0):
            x = torch.randn(40, 24)
            x[7, 3], x[8, 0] = float("nan"), float("inf")
            with collect(self.model, full_limit=limit) as collector, torch.no_grad():
                self.model.query(x)
            collector.save(self.path)
            tensors, _ = read(self.path)
            self.assertEqual(tensors["query.count"].tolist(), [38])
            self.assertTrue(all(tensor.isfinite().all() for tensor in tensors.values()))
            self.assertIn("not counted, for infinities or NaN: 2 inputs", collector.report(self.path, {}))

    def test_few_rows_of_many_are_taken_evenly(self):
        with collect(self.model, most_rows=10) as collector:
            self.run_model(count=1)
        collector.save(self.path)
        tensors, _ = read(self.path)
        self.assertEqual(tensors["query.count"].tolist(), [10])
        # Groups of channels are rows of their own.
        self.assertEqual(tensors["conv.count"].tolist(), [20])
        self.assertEqual(self.exact["conv"].all().shape[1], tensors["conv.mean"].shape[0])

    def test_inference_mode_and_half_precision_work(self):
        self.model.to(torch.bfloat16)
        with collect(self.model) as collector, torch.inference_mode():
            for x, image in batches(0):
                self.model(x.bfloat16(), image.bfloat16())
        collector.save(self.path)
        self.check_full(["query", "key", "conv"], read(self.path)[0])

    def test_comfyui_nodes_watch_and_save(self):
        nodes = roundwise_collect
        encoder = types.SimpleNamespace()
        clip = torch.nn.Module()
        clip.clip_l = torch.nn.Module()
        clip.clip_l.transformer = torch.nn.Sequential(torch.nn.Linear(4, 4))
        encoder.cond_stage_model = clip
        model = types.SimpleNamespace(model=types.SimpleNamespace(diffusion_model=self.model))
        asked = nodes.CollectNode.INPUT_TYPES()["required"]
        # Nothing that somebody would have to look up: a choice, and yes or no, explained.
        self.assertEqual(list(asked), ["model", "detail", "measure_effect"])
        self.assertTrue(all(kind[1]["tooltip"] for kind in asked.values()))
        options = {"detail": asked["detail"][0][0], "measure_effect": False}
        for _ in range(2):
            node = nodes.NODE_CLASS_MAPPINGS["RoundwiseCollect"]()
            self.assertEqual(node.attach(model=model, clip=encoder, **options), (model, encoder))
        self.run_model()
        clip.clip_l.transformer(torch.ones(2, 4))
        paths = types.ModuleType("folder_paths")
        paths.get_output_directory = lambda: str(self.path.parent)
        sys.modules["folder_paths"] = paths
        nodes.NODE_CLASS_MAPPINGS["RoundwiseSaveStatistics"]().save(None, "made")
        for collector, _ in nodes.ATTACHED.values():
            collector.stop()
        tensors, _ = read(self.path.parent / "made.stats.safetensors")
        self.assertEqual(tensors["query.count"].item(), len(self.exact["query"].all()))
        tensors, _ = read(self.path.parent / "made.clip_l.stats.safetensors")
        self.assertEqual(tensors["0.count"].item(), 2)

        # Other options begin anew; every tenth call of the model has a backward pass.
        node.attach(model=model, clip=None, detail=asked["detail"][0][1], measure_effect=True)
        self.run_model(count=6)
        with torch.inference_mode():
            self.run_model(count=5)
        nodes.NODE_CLASS_MAPPINGS["RoundwiseSaveStatistics"]().save(None, "made")
        collector, _ = nodes.ATTACHED[""]
        for other, _ in nodes.ATTACHED.values():
            other.stop()
        nodes.ATTACHED.clear()
        self.assertEqual((collector.curvature.calls, collector.curvature.failure), (11, None))
        tensors, metadata = read(self.path.parent / "made.stats.safetensors")
        self.assertEqual(metadata["curvature"], "gaussian")
        self.assertIn("query.covariance", tensors)
        self.assertIn("query.weighted_moment", tensors)

    def test_predictions_are_left_out_where_nothing_looks_at_them(self):
        class Language(torch.nn.Module):
            def __init__(self, is_tied):
                super().__init__()
                self.embedding, self.inner = torch.nn.Embedding(9, 4), torch.nn.Linear(4, 4)
                self.head = torch.nn.Linear(4, 9, bias=False)
                if is_tied:
                    self.head.weight = self.embedding.weight

            def get_output_embeddings(self):
                return self.head

            def forward(self, tokens, logits_to_keep=0):
                return self.head(self.inner(self.embedding(tokens))[:, -logits_to_keep:])

        # A head that is tied is not watched; statistics of one that is not need all of its inputs.
        for is_tied, expected in ((True, {"logits_to_keep": 1}), (False, {})):
            model = Language(is_tied)
            with collect(model) as collector:
                self.assertEqual(roundwise_collect.without_predictions(model, collector), expected)
        with collect(Small()) as collector:
            self.assertEqual(roundwise_collect.without_predictions(collector.model, collector), {})

    def test_a_failed_save_leaves_the_old_file(self):
        self.path.write_bytes(b"old")
        with self.assertRaisesRegex(ValueError, "no watched layer"), collect(self.model) as collector:
            collector.save(self.path)
        self.assertEqual(self.path.read_bytes(), b"old")
        self.assertEqual(len(list(self.path.parent.iterdir())), 1)



class Attention(torch.nn.Module):
    """Heads of 4, with keys and values of fewer heads; projections apart or in one."""

    def __init__(self, width=12, heads=4, value_heads=2, fused=None, function=None):
        super().__init__()
        self.heads, self.value_heads, self.fused = heads, value_heads, fused
        self.function = function
        if fused:
            self.qkv = torch.nn.Linear(width, 12 * heads)
        else:
            self.q = torch.nn.Linear(width, 4 * heads)
            self.k = torch.nn.Linear(width, 4 * value_heads)
            self.v = torch.nn.Linear(width, 4 * value_heads)
        self.o = torch.nn.Linear(4 * heads, width)

    def parts(self, x, context):
        if self.fused == "in turn":
            # All of a head, then the next one's.
            return self.qkv(x).unflatten(-1, (self.heads, 3, 4)).permute(3, 0, 2, 1, 4)
        if self.fused:
            return [part.unflatten(-1, (-1, 4)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1)]
        parts = self.q(x), self.k(context), self.v(context)
        query, *others = (part.unflatten(-1, (-1, 4)).transpose(1, 2) for part in parts)
        return query, *(part.repeat_interleave(self.heads // self.value_heads, 1) for part in others)

    def forward(self, x, context=None, **options):
        query, key, value = self.parts(x, x if context is None else context)
        attend = self.function or torch.nn.functional.scaled_dot_product_attention
        return self.o(attend(query, key, value, **options).transpose(1, 2).flatten(2))


class MixtureTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "attention.stats.safetensors"
        torch.manual_seed(2)

    def collected(self, model, calls, **options):
        with collect(model, **options) as collector, torch.no_grad():
            for x, keywords in calls:
                model(x, **keywords)
        collector.save(self.path)
        self.report = collector.report(self.path, {})
        return read(self.path)[0]

    def expected(self, model, calls, layer="v"):
        """Sum over heads of the second derivative, by one row of a head's weight, of half the squared
        change of attention's outputs, over the queries. By autograd, in F64."""
        model = model.double()
        attend = torch.nn.functional.scaled_dot_product_attention
        total, queries = 0, 0
        for x, keywords in calls:
            x, keywords = x.double(), dict(keywords)
            context = keywords.pop("context", x).double()
            query, key, _ = model.parts(x, context)
            if torch.is_tensor(keywords.get("attn_mask")) and keywords["attn_mask"].is_floating_point():
                keywords["attn_mask"] = keywords["attn_mask"].double()

            def error(row):
                # The same change of the first row of every head, each head by itself.
                value = (context @ row)[:, None, :, None].expand(-1, model.heads, -1, 1)
                mixed = attend(query, key, value, scale=0.5, **keywords)
                return mixed.square().sum() / 2

            row = torch.zeros(x.shape[-1], dtype=torch.float64)
            total = total + torch.autograd.functional.hessian(error, row)
            queries += x.shape[0] * x.shape[1]
        model.float()
        return total / queries

    def calls(self, **keywords):
        # More than one call, of several lengths, in batches.
        return [(torch.randn(2, length, 12), keywords) for length in (9, 6)]

    def test_mixed_moments_are_the_second_derivative_of_attentions_error(self):
        bias = torch.randn(9, 9) * 2
        cases = {
            "plain": self.calls(),
            "causal": self.calls(is_causal=True),
            "boolean mask": [(torch.randn(3, 9, 12), {"attn_mask": bias > -1})],
            "added mask": [(torch.randn(3, 9, 12), {"attn_mask": bias})],
            "context": [(torch.randn(2, 5, 12), {"context": torch.randn(2, 7, 12)})],
        }
        for name, calls in cases.items():
            with self.subTest(name):
                model = Attention()
                tensors = self.collected(model, calls)
                expected = self.expected(model, calls)
                torch.testing.assert_close(moment(tensors, "v", "mixed"), expected, **CLOSE)
                self.assertEqual(
                    tensors["v.mixed_count"].item(), sum(x.shape[0] * x.shape[1] for x, _ in calls)
                )
                self.assertNotIn("v.mixed_rows", tensors)
                diagonal = tensors["v.mixed_second_moment"].double()
                torch.testing.assert_close(diagonal, expected.diagonal(), **CLOSE)
                self.assertEqual([key for key in tensors if "mixed_count" in key], ["v.mixed_count"])
                # What all inputs have stays.
                self.assertIn("v.covariance", tensors)

    def test_mixed_moments_do_not_depend_on_how_they_are_summed(self):
        calls = [(torch.randn(1, 40, 12), {"is_causal": True}), (torch.randn(1, 5, 12), {})]
        model = Attention()
        expected = self.expected(model, calls)
        # Blocks of one query; never by products of probabilities; sketches of all directions.
        for name, value in {"PROBABILITIES": 1, "GRAM_TOKENS": 0, "GRAM_TOKENS ": 4096}.items():
            for limit in (4096, 0):
                with mock.patch.object(roundwise_collect, name.strip(), value):
                    tensors = self.collected(model, calls, full_limit=limit, rank=12)
                found = moment(tensors, "v", "mixed")
                torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)

    def test_fused_projections_say_which_rows_make_values(self):
        for fused, rows in {
            "one after the other": [[32, 48]],
            "in turn": [[8, 12], [20, 24], [32, 36], [44, 48]],
        }.items():
            model = Attention(value_heads=4, fused=fused)
            tensors = self.collected(model, self.calls(is_causal=True))
            self.assertEqual(tensors["qkv.mixed_rows"].tolist(), rows)
        # The later model's, whose heads share nothing.
        calls = self.calls(is_causal=True)
        tensors = self.collected(model, calls)
        expected = self.expected(model, calls)
        torch.testing.assert_close(moment(tensors, "qkv", "mixed"), expected, **CLOSE)

    def test_values_of_two_layers_joined_are_told_apart(self):
        class Joint(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.text, self.image = Attention(value_heads=4), Attention(value_heads=4)

            def forward(self, text, image):
                parts = zip(self.text.parts(text, text), self.image.parts(image, image))
                query, key, value = (torch.cat(pair, 2) for pair in parts)
                return torch.nn.functional.scaled_dot_product_attention(query, key, value)

        model, text, image = Joint(), torch.randn(2, 5, 12), torch.randn(2, 9, 12)
        with collect(model) as collector, torch.no_grad():
            model(text, image)
        collector.save(self.path)
        tensors, _ = read(self.path)
        parts = zip(model.text.parts(text, text), model.image.parts(image, image))
        query, key, _ = (torch.cat(pair, 2).double() for pair in parts)
        mixing = torch.softmax(query @ key.transpose(2, 3) / 2, -1)
        for name, x, place in (("text", text, slice(0, 5)), ("image", image, slice(5, 14))):
            mixed = (mixing[..., place] @ x.double()[:, None]).reshape(-1, 12)
            torch.testing.assert_close(
                moment(tensors, f"{name}.v", "mixed"), mixed.T @ mixed / (2 * 14), **CLOSE
            )

    def test_masked_queries_do_not_count(self):
        model, x = Attention(), torch.randn(2, 6, 12)
        mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
        with collect(model) as collector, torch.no_grad():
            collector.mask = mask
            model(x, is_causal=True)
        collector.save(self.path)
        tensors, _ = read(self.path)
        apart = [(x[:1], {"is_causal": True}), (x[1:, :4], {"is_causal": True})]
        self.assertEqual(tensors["v.mixed_count"].item(), 10)
        expected = self.expected(model, apart)
        torch.testing.assert_close(moment(tensors, "v", "mixed"), expected, **CLOSE)

    def test_few_queries_of_many_are_taken(self):
        tensors = self.collected(Attention(), self.calls(), most_rows=4)
        self.assertEqual(tensors["v.mixed_count"].item(), 8)

    def test_going_on_equals_one_run(self):
        model, calls = Attention(), self.calls(is_causal=True)
        for options in ({}, {"full_limit": 0, "rank": 12}):
            self.path.unlink(missing_ok=True)
            for call in calls:
                tensors = self.collected(model, [call], resume=self.path, **options)
            expected = self.expected(model, calls)
            found = moment(tensors, "v", "mixed")
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
        # Not seen again, kept.
        with collect(model, resume=self.path) as collector, torch.no_grad():
            model.v(torch.ones(1, 12))
        collector.save(self.path)
        self.assertEqual(read(self.path)[0]["v.mixed_count"].item(), 30)

    def test_an_attention_whose_values_no_layer_made_is_named(self):
        def halved(query, key, value, **options):
            return torch.nn.functional.scaled_dot_product_attention(query, key, value / 2, **options)

        tensors = self.collected(Attention(function=halved), self.calls())
        self.assertFalse([name for name in tensors if "mixed" in name])
        self.assertIn("after: v;", self.report)
        # For the largest inputs alone.
        self.assertEqual(read(self.path)[1]["version"], "2")

    def test_plain_moments_alone_if_asked(self):
        tensors = self.collected(Attention(), self.calls(), moments=("plain",))
        self.assertFalse([name for name in tensors if "mixed" in name])

    def test_the_attention_functions_come_back(self):
        before = torch.nn.functional.scaled_dot_product_attention
        with collect(Attention()), collect(Attention()):
            self.assertIsNot(torch.nn.functional.scaled_dot_product_attention, before)
        self.assertIs(torch.nn.functional.scaled_dot_product_attention, before)

    def in_a_module(self, name, **functions):
        module = types.ModuleType(name)
        vars(module).update(functions)
        patch = mock.patch.dict(sys.modules, {name: module})
        patch.start()
        self.addCleanup(patch.stop)
        return module

    def test_functions_of_transformers_models_are_known(self):
        def eager(module, query, key, value, attention_mask, scaling):
            scores = query @ key.transpose(2, 3) * scaling
            weights = torch.softmax(scores.clamp(max=1), -1)
            return (weights @ value).transpose(1, 2), weights

        place = self.in_a_module("transformers.models.own", eager_attention_forward=eager)

        def attend(query, key, value):
            output, _ = place.eager_attention_forward(None, query, key, value, None, scaling=0.5)
            return output.transpose(1, 2)

        model, calls = Attention(function=attend), self.calls()
        tensors = self.collected(model, calls)
        self.assertIs(place.eager_attention_forward, eager)
        total = 0
        for x, _ in calls:
            query, key, _ = (part.double() for part in model.parts(x, x))
            mixing = torch.softmax((query @ key.transpose(2, 3) / 2).clamp(max=1), -1)
            mixed = (mixing @ x.double()[:, None]).reshape(-1, 12)
            total = total + mixed.T @ mixed
        torch.testing.assert_close(moment(tensors, "v", "mixed"), total / 30, **CLOSE)

    def test_functions_of_comfyui_are_known(self):
        attend = torch.nn.functional.scaled_dot_product_attention

        def attention_basic(q, k, v, heads, mask=None, precision=None, skip_reshape=False, **_):
            if not skip_reshape:
                q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
            mixed = attend(q, k, v, attn_mask=None if mask is None else mask[:, None])
            return mixed.transpose(1, 2).flatten(2)

        self.in_a_module("comfy.ldm.modules.attention", attention_basic=attention_basic)
        user = self.in_a_module("comfy.ldm.own.model", optimized_attention=attention_basic)
        mask = torch.randn(2, 9, 9)

        def flat(query, key, value, **options):
            parts = (part.transpose(1, 2).flatten(2) for part in (query, key, value))
            mixed = user.optimized_attention(*parts, 4, **options)
            return mixed.unflatten(-1, (4, -1)).transpose(1, 2)

        def with_heads(query, key, value, **options):
            mixed = user.optimized_attention(query, key, value, 4, skip_reshape=True, **options)
            return mixed.unflatten(-1, (4, -1)).transpose(1, 2)

        for function in (flat, with_heads):
            model = Attention(function=function)
            x = torch.randn(2, 9, 12)
            tensors = self.collected(model, [(x, {"mask": mask})])
            expected = self.expected(model, [(x, {"attn_mask": mask[:, None]})])
            torch.testing.assert_close(moment(tensors, "v", "mixed"), expected, **CLOSE)
        self.assertIs(user.optimized_attention, attention_basic)


class Block(torch.nn.Module):
    def __init__(self, width, before=torch.tanh):
        super().__init__()
        self.before = before
        self.attention = Attention(width)
        self.up, self.down = torch.nn.Linear(width, 20), torch.nn.Linear(20, width)

    def forward(self, x, *, scale):
        # Writes into its input.
        x += self.attention(self.before(x), is_causal=True)
        return x + self.down(torch.tanh(self.up(x))) * scale, scale


class Tower(torch.nn.Module):
    """Blocks between an embedding and a head, with something convolved, and a layer that is in vain."""

    def __init__(self, classes=None, before=torch.tanh):
        super().__init__()
        self.embedding = torch.nn.Embedding(16, 12)
        self.blocks = torch.nn.ModuleList(Block(12, before) for _ in range(2))
        self.conv = torch.nn.Conv2d(1, 1, (1, 3), padding=(0, 1))
        self.vain = torch.nn.Linear(12, 12)
        self.head = torch.nn.Linear(12, classes or 6)
        self.has_logits = classes is not None

    def forward(self, tokens):
        x, scale = self.embedding(tokens), torch.ones(1) * 0.7
        for block in self.blocks:
            x, scale = block(x, scale=scale)
        x = self.conv(x[:, None])[:, 0] + 0 * self.vain(x)
        y = self.head(x)
        return types.SimpleNamespace(logits=y) if self.has_logits else {"sample": y}


class CurvatureTest(unittest.TestCase):
    LAYERS = ("blocks.0.attention.q", "blocks.0.attention.v", "blocks.1.up", "blocks.1.down", "head")

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "tower.stats.safetensors"
        torch.manual_seed(3)
        self.calls = [torch.randint(16, (2, length)) for length in (7, 11)]

    def collected(self, model, calls=None, mask=None, **options):
        """The file's tensors; remembers the gradients at the outputs that were drawn."""
        self.drawn = []
        with collect(model, curvature=True, **options) as collector:
            judged = collector.curvature.judged

            def remembered(output):
                pairs = judged(output)
                self.drawn.extend(gradient for _, gradient in pairs)
                return pairs

            collector.curvature.judged = remembered
            with torch.inference_mode():
                self.outputs = []
                for tokens in calls or self.calls:
                    collector.mask = mask
                    self.outputs.append(model(tokens))
        collector.save(self.path)
        called = {layer.name: layer for layer in collector.layers if layer.group}
        self.report = collector.report(self.path, called)
        return read(self.path)[0]

    def brute(self, model, calls=None):
        """(inputs, gradients) [samples, ..] of every layer by one backward pass for each call, in F64,
        from the gradients that were drawn."""
        model = model.double()
        for parameter in model.parameters():
            parameter.requires_grad_(parameter is model.embedding.weight)
        rows = {}
        for tokens, gradient in zip(calls or self.calls, self.drawn):
            seen, handles = {}, []
            for name in self.LAYERS:
                def hook(_module, arguments, y, name=name):
                    y.retain_grad()
                    seen[name] = arguments[0].detach().clone(), y

                handles.append(model.get_submodule(name).register_forward_hook(hook))
            output = model(tokens)
            y = output.logits if model.has_logits else output["sample"]
            y.backward(gradient.double())
            for name, (x, y) in seen.items():
                pair = x.flatten(0, -2), y.grad.flatten(0, -2)
                rows.setdefault(name, []).append(pair)
            for handle in handles:
                handle.remove()
        model.float()
        for parameter in model.parameters():
            parameter.requires_grad_()
        return {name: [torch.cat(part) for part in zip(*pairs)] for name, pairs in rows.items()}

    def check(self, model, tensors, predictions, calls=None):
        for name, (x, g) in self.brute(model, calls).items():
            weights = g.square().sum(1)
            self.assertEqual(tensors[f"{name}.gradient_count"].item(), predictions)
            torch.testing.assert_close(
                tensors[f"{name}.gradient_mean_square"].double(),
                (weights.sum() / predictions / g.shape[1]).reshape(1),
                **CLOSE,
            )
            weighted = (x * weights[:, None]).T @ x / predictions
            torch.testing.assert_close(moment(tensors, name, "weighted"), weighted, **CLOSE)
            outputs = g.T @ g / predictions
            torch.testing.assert_close(moment(tensors, name, "gradient"), outputs, **CLOSE)

    def test_gradients_of_drawn_tokens_equal_brute_force(self):
        model = Tower(classes=9)
        tensors = self.collected(model)
        self.check(model, tensors, 2 * (7 + 11))
        self.assertEqual(read(self.path)[1]["curvature"], "tokens")
        self.assertEqual(read(self.path)[1]["version"], "2")
        for gradient in self.drawn:
            # p less one at the token that was drawn.
            torch.testing.assert_close(gradient.sum(-1), torch.zeros(gradient.shape[:-1]), **CLOSE)
            self.assertTrue(((gradient < 0).sum(-1) == 1).all())

    def test_gradients_of_noise_equal_brute_force(self):
        model = Tower()
        tensors = self.collected(model)
        self.check(model, tensors, 2 * (7 + 11) * 6)
        self.assertEqual(read(self.path)[1]["curvature"], "gaussian")

    def test_outputs_and_plain_sums_are_those_of_a_plain_run(self):
        model = Tower()
        with torch.no_grad():
            expected = [model(tokens)["sample"] for tokens in self.calls]
        tensors = self.collected(model)
        for found, output in zip(self.outputs, expected):
            torch.testing.assert_close(found["sample"], output)
            self.assertFalse(found["sample"].requires_grad)
        with collect(model) as collector, torch.no_grad():
            for tokens in self.calls:
                model(tokens)
        collector.save(self.path)
        plain = read(self.path)[0]
        for name in plain:
            torch.testing.assert_close(tensors[name], plain[name], msg=name)
        self.assertIn("blocks.1.attention.v.mixed_moment", plain)
        self.assertTrue(all(parameter.requires_grad for parameter in model.parameters()))
        self.assertNotIn("forward", vars(model))
        self.assertNotIn("forward", vars(model.blocks[0]))

    def test_noise_finds_the_hessian_of_half_the_squared_output(self):
        model = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Linear(4, 3))
        with collect(model, curvature=True) as collector, torch.no_grad():
            for _ in range(40):
                model(torch.randn(100, 5))
        collector.save(self.path)
        weight = model[1].weight.detach().double()
        # 4000 draws; the loss is counted by elements, three to a draw.
        found = moment(read(self.path)[0], "0", "gradient") * 3
        torch.testing.assert_close(found, weight.T @ weight, rtol=0.1, atol=0.05)

    def test_tokens_are_drawn_by_their_probabilities(self):
        p = torch.rand(1, 2500, generator=torch.Generator().manual_seed(1)) ** 8
        p[0, :3], p[0, 1000:1100], p[0, -1] = 0, 0, 0.5
        p /= p.sum()
        count = 40_000
        chances = (torch.arange(count)[:, None] + 0.5) / count
        drawn = roundwise_collect.draw(p.expand(count, -1), chances).flatten()
        found = torch.bincount(drawn, minlength=2500) / count
        torch.testing.assert_close(found, p[0], rtol=0, atol=3 / count)
        self.assertEqual(found[1000:1100].sum().item(), 0)

    def test_masked_tokens_have_no_part(self):
        model = Tower(classes=9)
        mask = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
        tensors = self.collected(model, self.calls[:1], mask)
        self.assertEqual(tensors["head.gradient_count"].item(), 11)
        self.assertTrue((self.drawn[0][1, 4:] == 0).all())
        self.check(model, tensors, 11, self.calls[:1])

    def test_only_some_calls_have_a_backward_pass(self):
        model = Tower()
        tensors = self.collected(model, self.calls * 3, every=4)
        self.assertEqual(len(self.drawn), 2)
        self.check(model, tensors, 2 * (7 + 7) * 6, [self.calls[0], self.calls[0]])
        self.assertEqual(tensors["head.count"].item(), 2 * (7 + 11) * 3)

    def test_going_on_equals_one_run(self):
        model = Tower()
        drawn = []
        for options in ({}, {"full_limit": 0, "rank": 20}):
            self.path.unlink(missing_ok=True)
            drawn.clear()
            for seed, tokens in enumerate(self.calls):
                tensors = self.collected(model, [tokens], resume=self.path, seed=seed, **options)
                drawn.extend(self.drawn)
            self.drawn = drawn
            self.check(model, tensors, 2 * (7 + 11) * 6)
        # Without gradients this time: kept.
        with collect(model, resume=self.path) as collector, torch.no_grad():
            model(self.calls[0])
        collector.save(self.path)
        tensors, metadata = read(self.path)
        self.check(model, tensors, 2 * (7 + 11) * 6)
        self.assertEqual(metadata["curvature"], "gaussian")

    def test_layers_without_gradients_fall_back_and_are_named(self):
        model = Tower()
        self.collected(model)
        tensors = self.collected(model)
        self.assertFalse([name for name in tensors if name.startswith(("vain.grad", "vain.weigh"))])
        self.assertIn("vain.covariance", tensors)
        self.assertRegex(self.report, "1 layer with plain statistics, for gradients that are zero .*: vain")
        # The backward pass of a square root at zero, after everything but the head.
        model.head.register_forward_pre_hook(lambda _m, x: x[0] + (x[0] * 0).sum().sqrt())
        tensors = self.collected(model)
        self.assertFalse([n for n in tensors if "gradient" in n and not n.startswith("head")])
        self.assertRegex(self.report, "gradients of 1 layer,")

    def test_a_function_without_a_backward_pass_is_told(self):
        class Cut(torch.autograd.Function):
            @staticmethod
            def forward(_context, x):
                return x.clone()

        model = Tower()
        model.head.register_forward_hook(lambda _m, _x, y: Cut.apply(y))
        tensors = self.collected(model)
        self.assertIn("no gradients, plain statistics only", self.report)
        self.assertEqual(tensors["head.count"].item(), 2 * (7 + 11))
        self.assertEqual(len(self.outputs), 2)

    def test_blocks_may_write_into_what_their_backward_pass_needs(self):
        def normalised(x):
            return torch.nn.functional.layer_norm(x, (12,))

        model = Tower(before=normalised)
        tensors = self.collected(model, [self.calls[0], *self.calls])
        # The first call is lost: it shows that they do.
        del self.drawn[0]
        self.assertEqual(tensors["head.count"].item(), 2 * (7 + 7 + 11))
        for block in model.blocks:
            block.before = lambda x: normalised(x.clone())
        self.check(model, tensors, 2 * (7 + 11) * 6)

    def test_weights_made_in_inference_mode_work(self):
        with torch.inference_mode():
            model = Tower()
        tensors = self.collected(model)
        with torch.inference_mode(False):
            copy = Tower()
            copy.load_state_dict({name: value.clone() for name, value in model.state_dict().items()})
        self.check(copy, tensors, 2 * (7 + 11) * 6)
        self.assertTrue(model.head.weight.is_inference())

    def test_moments_under_unknown_names_are_refused(self):
        for moments in ("foo", ["mixed", "foo"]):
            with self.assertRaisesRegex(ValueError, "no second moments have the name foo"):
                collect(Tower(), moments=moments)

    def test_moments_are_an_option_and_memory_prefers_weighted_ones(self):
        tensors = self.collected(Tower(), moments=("weighted",))
        self.assertIn("head.weighted_moment", tensors)
        self.assertIn("head.second_moment", tensors)
        self.assertNotIn("head.covariance", tensors)
        sketched = collect(Tower(), curvature=True, full_limit=0, rank=2)
        sketched.stop()
        # Room for some matrices.
        memory = int((sketched.most_bytes + 4000) * 8 / 7)
        tensors = self.collected(Tower(), memory=memory, rank=2)
        self.assertIn("blocks.0.up.weighted_moment", tensors)
        self.assertIn("blocks.0.up.factor", tensors)


class Bank(torch.nn.Module):
    """Two matrices of every expert, as modules of transformers have them."""

    def __init__(self, is_transposed=False, has_bias=False, has_gate=True):
        super().__init__()
        self.is_transposed, self.has_bias, self.has_gate = is_transposed, has_bias, has_gate
        self.has_post_expert_norm = False
        shapes = {"gate_up_proj" if has_gate else "up_proj": (4, 12, 6), "down_proj": (4, 6, 6 if has_gate else 12)}
        for name, (experts, rows, columns) in shapes.items():
            sides = (columns, rows) if is_transposed else (rows, columns)
            setattr(self, name, torch.nn.Parameter(torch.randn(experts, *sides)))
            setattr(self, f"{name}_bias", torch.nn.Parameter(torch.randn(experts, rows)))
        self.banks = list(shapes)
        # What its own `forward` shows the experts.
        self.seen = {}

    def act_fn(self, x):
        return torch.relu(x)

    def _apply_gate(self, x):
        gate, up = x.chunk(2, -1)
        return torch.relu(gate) * up

    def matrix(self, name, expert):
        weight = getattr(self, name)[expert]
        return weight.T if self.is_transposed else weight

    def outputs(self, expert, x):
        biases = [getattr(self, f"{name}_bias")[expert] if self.has_bias else 0 for name in self.banks]
        inner = x @ self.matrix(self.banks[0], expert).T + biases[0]
        inner = self._apply_gate(inner) if self.has_gate else self.act_fn(inner)
        for name, seen in (("gate", x), ("up", x), ("down", inner)):
            if name != "gate" or self.has_gate:
                self.seen.setdefault(f"{expert}.{name}", []).append(seen.detach().double())
        return inner @ self.matrix(self.banks[1], expert).T + biases[1]

    def forward(self, x, chosen, weights):
        result = torch.zeros_like(x)
        for expert in chosen.unique().tolist():
            tokens, places = torch.where(chosen == expert)
            y = self.outputs(expert, x[tokens]) * weights[tokens, places, None]
            result = result.index_add(0, tokens, y)
        return result


class Layers(torch.nn.Module):
    """The same with a layer for every matrix."""

    def __init__(self, bank):
        super().__init__()
        self.bank = (bank,)
        for expert in range(4):
            gate, up = bank.gate_up_proj[expert].chunk(2)
            for name, weight in (("gate", gate), ("up", up), ("down", bank.down_proj[expert])):
                layer = torch.nn.Linear(*reversed(weight.shape), bias=False)
                layer.weight = torch.nn.Parameter(weight.detach().clone())
                self.add_module(f"{expert}", self._modules.get(f"{expert}") or torch.nn.Module())
                self._modules[f"{expert}"].add_module(name, layer)

    def forward(self, x, chosen, weights):
        result = torch.zeros_like(x)
        for number in chosen.unique().tolist():
            tokens, places = torch.where(chosen == number)
            expert, seen = self._modules[f"{number}"], x[tokens]
            y = expert.down(torch.relu(expert.gate(seen)) * expert.up(seen)) * weights[tokens, places, None]
            result = result.index_add(0, tokens, y)
        return result


class Routed(torch.nn.Module):
    """Sends tokens to two of four experts; nothing ever goes to the last."""

    def __init__(self, **options):
        super().__init__()
        torch.manual_seed(3)
        self.first, self.experts = torch.nn.Linear(6, 6), Bank(**options)

    def forward(self, x):
        x = torch.tanh(self.first(x)).flatten(0, -2)
        chosen = torch.stack([torch.arange(len(x)) % 3, (torch.arange(len(x)) + 1) % 3], 1)
        return self.experts(x, chosen, torch.linspace(0.1, 0.9, 2 * len(x)).reshape(-1, 2))


def written_one_by_one(_model, tensors, cut=lambda bank: bank.chunk(2, 1)):
    """What transformers does for files that hold gate, up and down of every expert."""
    result = {}
    for name, bank in tensors.items():
        bank = bank if bank.shape[2] == 1 else bank.mT
        if name.endswith("gate_up_proj"):
            parts = dict(zip(("gate", "up"), cut(bank)))
        else:
            parts = {name.rpartition(".")[2].removesuffix("_proj"): bank}
        for part, matrices in parts.items():
            for expert, matrix in enumerate(matrices):
                result[f"{name.rpartition('.')[0]}.{expert}.{part}.weight"] = matrix
    return result


def written_in_turn(model, tensors):
    """The same where the rows of gate and up take turns in the bank."""
    return written_one_by_one(model, tensors, lambda bank: (bank[:, ::2], bank[:, 1::2]))


def written_backwards(model, tensors):
    """The same where the bank has one of them, from the last row to the first."""
    return {
        name: matrix if ".up." not in name else matrix.flip(0)
        for name, matrix in written_one_by_one(model, tensors).items()
    }


class ExpertsTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "experts.stats.safetensors"

    def writes(self, function):
        loading = types.ModuleType("transformers.core_model_loading")
        loading.revert_weight_conversion = function
        modules = {"transformers": types.ModuleType("transformers"), loading.__name__: loading}
        # Not by `mock.patch.dict`, which also forgets what torch imports meanwhile.
        for name, module in modules.items():
            self.addCleanup(self.put, name, sys.modules.get(name))
            self.put(name, module)

    @staticmethod
    def put(name, module):
        if module is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = module

    def collected(self, model, calls, **options):
        with contextlib.redirect_stderr(io.StringIO()) as told, torch.no_grad(), collect(model, **options) as collector:
            for x, mask in calls:
                collector.mask = mask
                model(x)
            collector.save(self.path)
        return read(self.path)[0], told.getvalue()

    def test_experts_have_the_statistics_of_the_tokens_that_reached_them(self):
        x = torch.randn(2, 5, 6)
        for written, options in (
            (written_one_by_one, {}),
            (written_one_by_one, {"is_transposed": True}),
            (written_one_by_one, {"has_bias": True}),
            (written_one_by_one, {"has_gate": False}),
            (written_in_turn, {}),
            (written_backwards, {"has_gate": False}),
        ):
            self.writes(written)
            model = Routed(**options)
            expected = model(x)
            bank = getattr(model.experts, "down_proj")
            (gradient,) = torch.autograd.grad(expected.square().sum(), bank)
            with collect(model):
                watched = model(x)
                torch.testing.assert_close(watched, expected)
                (found,) = torch.autograd.grad(watched.square().sum(), bank)
            torch.testing.assert_close(found, gradient)
            model.experts.seen = {}
            model(x)
            tensors, _ = self.collected(model, [(x, None)])
            names = {name.removesuffix(".count") for name in tensors if name.endswith(".count")}
            self.assertEqual(names, {"first", *(f"experts.{name}" for name in model.experts.seen)})
            for name, rows in model.experts.seen.items():
                rows = torch.cat(rows)
                self.assertEqual(tensors[f"experts.{name}.count"].tolist(), [len(rows)])
                exact = rows.T @ rows / len(rows)
                torch.testing.assert_close(second_moment(tensors, f"experts.{name}"), exact, **CLOSE)
            # Afterwards it is the module's own again.
            self.assertNotIn("forward", vars(model.experts))

    def test_statistics_of_experts_are_those_of_layers(self):
        """With gradients, and with tokens that do not count."""
        self.writes(written_one_by_one)
        model = Routed()
        plain = Routed()
        plain.experts = Layers(model.experts)
        mask = torch.ones(2, 6, dtype=torch.bool)
        mask[1, 3:] = False
        x = torch.randn(2, 6, 6)
        found, _ = self.collected(model, [(x, None)], curvature=True)
        expected, _ = self.collected(plain, [(x, None)], curvature=True)
        self.assertEqual(set(found), set(expected))
        self.assertIn("experts.1.down.weighted_moment", found)
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, **CLOSE)
        # What is masked counts at none of them.
        masked, _ = self.collected(model, [(x, mask)], curvature=True)
        rows = torch.tanh(model.first(x)).flatten(0, 1).detach()
        reached = [token for token in range(12) if token % 3 in (0, 2) and mask.flatten()[token]]
        self.assertEqual(masked["experts.0.gate.count"].tolist(), [len(reached)])
        torch.testing.assert_close(masked["experts.0.gate.mean"], rows[reached].mean(0), **CLOSE)
        full, part = (tensors["experts.0.gate.weighted_moment"] for tensors in (found, masked))
        self.assertGreater(float((full - part).abs().max()), 0.01 * float(full.abs().max()))

    def test_experts_without_room_get_their_diagonal(self):
        self.writes(written_one_by_one)
        calls = [(torch.randn(2, 5, 6), None)]
        wanted = collect(Routed(), curvature=True)
        wanted.stop()
        diagonal = collect(Routed(), curvature=True, memory=1)
        diagonal.stop()
        # Nothing is left for experts where attention and all else have what they want, and some is.
        for memory in (1, diagonal.most_bytes + 100):
            tensors, _ = self.collected(Routed(), calls, curvature=True, memory=memory)
            self.assertIn("experts.0.gate.second_moment", tensors)
            for part in ("covariance", "factor", "weighted_moment", "gradient_factor"):
                self.assertNotIn(f"experts.0.gate.{part}", tensors)
        self.assertLess(diagonal.most_bytes, wanted.most_bytes)
        # With room for more later, what the file lacks stays away.
        tensors, _ = self.collected(Routed(), calls, curvature=True, resume=self.path)
        self.assertNotIn("experts.0.gate.gradient_factor", tensors)

    def test_experts_that_lie_together_in_the_file_are_left_out_and_told(self):
        self.writes(lambda _model, tensors: tensors)
        tensors, told = self.collected(Routed(), [(torch.randn(2, 5, 6), None)])
        self.assertEqual({name.split(".")[0] for name in tensors}, {"first"})
        self.assertIn("left out: 1 module with experts that do not lie one by one in the file", told)
        self.writes(lambda *_: 1 / 0)
        _, told = self.collected(Routed(), [(torch.randn(2, 5, 6), None)])
        self.assertIn("left out: 1 module with experts that transformers gives no names (ZeroDivisionError", told)


if __name__ == "__main__":
    unittest.main()
