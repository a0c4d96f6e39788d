"""Checks the collector against sums taken in F64: `python test_collector.py`. Needs torch and
safetensors."""

import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import safetensors
import torch

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
            self.assertIn("2 inputs held", collector.report(self.path, {}))

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
        import types

        import roundwise_collect as nodes

        encoder = types.SimpleNamespace()
        clip = torch.nn.Module()
        clip.clip_l = torch.nn.Module()
        clip.clip_l.transformer = torch.nn.Sequential(torch.nn.Linear(4, 4))
        encoder.cond_stage_model = clip
        model = types.SimpleNamespace(model=types.SimpleNamespace(diffusion_model=self.model))
        options = {
            name: kind[1]["default"]
            for name, kind in nodes.CollectNode.INPUT_TYPES()["required"].items()
            if len(kind) > 1
        }
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

    def test_a_failed_save_leaves_the_old_file(self):
        self.path.write_bytes(b"old")
        with self.assertRaisesRegex(ValueError, "no watched layer"):
            collect(self.model).save(self.path)
        self.assertEqual(self.path.read_bytes(), b"old")
        self.assertEqual(len(list(self.path.parent.iterdir())), 1)


if __name__ == "__main__":
    unittest.main()
