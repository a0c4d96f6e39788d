"""Collects statistics of the real inputs of a model's layers, for `roundwise convert --stats`.

One file; needs torch and nothing else. Three ways to use it:

1.  In your own program, around whatever uses the model:

        from roundwise_collect import collect
        with collect(model) as collector:
            ...                                  # use the model as always
        collector.save("model.stats.safetensors")

2.  In ComfyUI: put this file into `custom_nodes/` and restart. The node "Collect layer statistics" goes
    between the loader and the sampler, "Save layer statistics" after the image. Everything that is
    generated is a sample.

3.  A transformers folder and a text file, a text on each line:

        python roundwise_collect.py MODEL_FOLDER texts.txt -o model.stats.safetensors

    or, for a language model, text that it writes itself:

        python roundwise_collect.py MODEL_FOLDER --self -o model.stats.safetensors

Watched are `Linear` and `Conv2d` layers (a convolution's inputs are its patches). Per layer: number of
inputs x, mean, E[x_j^2] and, up to `full_limit` columns, the covariance; of wider layers a sketch of
E[x x^T], of which `rank` directions are kept. `docs/statistics.md` of roundwise describes the file.
"""

import argparse
import ctypes
import functools
import hashlib
import json
import math
import os
import struct
import sys
import tempfile
import time
import weakref
from pathlib import Path

import torch

FORMAT = "roundwise-stats"
VERSION = "1"
TOOL = "roundwise_collect 1"

# Layers of up to so many columns get a full matrix, narrowest first, while there is memory for them.
FULL_LIMIT = 4096
MEMORY_LIMIT = 4 << 30
RANK = 64

# Products are taken of up to so many rows at once: with fewer, adding to the sums takes the time.
BUFFER_ROWS = 1024
# Rows of blocks of a symmetric product; only blocks on and below the diagonal are computed.
BLOCK = 256

FULL, FACTOR, DIAGONAL = "full", "factor", "diagonal"


class Sums:
    """Sums over the inputs x of one layer, or of several that see the same inputs.

    Everything is summed about a pivot p near the mean, because sums about zero lose the digits of
    a small variance beside a large mean. With z = x - p: `sum` is of z, `squares` of z_j^2,
    `products` of z z^T (lower blocks), `sketch` of z (z^T test) for a random `test` [n, l]."""

    def __init__(self, columns, kind, rank, device):
        self.columns, self.kind, self.device = columns, kind, device
        self.rank = min(rank, columns)
        # MPS has no F64.
        self.wide = torch.float32 if device.type == "mps" else torch.float64
        self.count = 0
        self.pivot = None
        self.sum = torch.zeros(columns, dtype=self.wide, device=device)
        self.squares = self.products = self.sketch = self.test = self.staged = None
        self.buffer = torch.empty(buffer_rows(columns, kind), columns, device=device)
        self.buffered = 0
        if kind == FULL:
            self.products = torch.zeros(columns, columns, device=device)
        else:
            self.squares = torch.zeros(columns, dtype=self.wide, device=device)
        if kind == FACTOR:
            self.test = test_matrix(columns, self.rank).to(device)
            self.sketch = torch.zeros_like(self.test)
        self.ignored = 0

    def copy(self):
        """An independent one with the same content."""
        other = object.__new__(Sums)
        other.__dict__.update(self.__dict__)
        other.staged = None
        for name in ("sum", "squares", "products", "sketch", "buffer"):
            value = getattr(self, name)
            setattr(other, name, None if value is None else value.clone())
        return other

    def begin(self, count, mean, second_moment, factor=None, covariance=None):
        """Continues from what a file holds, all in F64."""
        self.count, self.pivot = count, mean.float().to(self.device)
        variance = (second_moment - mean**2).clamp(min=0) * count
        if self.kind == FULL:
            self.products.copy_(covariance * count)
            return
        self.squares.copy_(variance)
        if self.kind == FACTOR:
            test = self.test.cpu().double()
            if covariance is not None:
                product = covariance @ test
            else:
                residual = (second_moment - factor.square().sum(1)).clamp(min=0)
                product = factor @ (factor.T @ test) + residual[:, None] * test
                product -= mean[:, None] * (mean @ test)
            self.sketch.copy_(product * count)

    def stage(self, rows):
        """Keeps inputs [m, n] of any floating dtype, without counting them before `commit`."""
        rows = rows.to(self.device)
        if rows.dtype not in (torch.float32, torch.bfloat16, torch.float16):
            rows = rows.float()
        if self.pivot is None:
            finite = rows[torch.isfinite(rows).all(1)]
            self.pivot = finite.float().mean(0) if len(finite) else None
        # Also where the rows are not changed by it: a copy stays as it is.
        pivot = rows.new_zeros(()) if self.pivot is None else self.pivot
        if len(rows) <= len(self.buffer):
            if self.buffered + len(rows) > len(self.buffer):
                self.flush()
            place = self.buffer[self.buffered : self.buffered + len(rows)]
            self.staged = torch.sub(rows, pivot, out=place)
        else:
            self.staged = torch.sub(rows, pivot).float()

    def commit(self):
        """Adds what is staged."""
        staged, self.staged = self.staged, None
        if len(staged) <= len(self.buffer):
            self.buffered += len(staged)
            return
        self.flush()
        for part in staged.split(4 * BUFFER_ROWS):
            self.take(part)

    def flush(self):
        if self.buffered:
            rows, self.buffered = self.buffer[: self.buffered], 0
            self.take(rows)

    def take(self, rows):
        """Sums up rows less the pivot."""
        total = rows.sum(0)
        # One infinity or NaN anywhere shows in the sum of its column.
        if not torch.isfinite(total).all():
            kept = rows[torch.isfinite(rows).all(1)]
            self.ignored += len(rows) - len(kept)
            rows, total = kept, kept.sum(0)
        self.count += len(rows)
        self.sum += total
        if self.squares is not None:
            self.squares += rows.square().sum(0)
        if self.kind == FULL:
            for start in range(0, self.columns, BLOCK):
                end = min(start + BLOCK, self.columns)
                self.products[start:end, :end].addmm_(rows[:, start:end].T, rows[:, :end])
        elif self.kind == FACTOR:
            self.sketch.addmm_(rows.T, rows @ self.test)

    def statistics(self):
        """The layer's tensors as the file has them, F32 on the CPU."""
        self.flush()
        pivot, shift = self.pivot.cpu().double(), self.sum.cpu().double() / self.count
        mean = pivot + shift
        result = {"mean": mean}
        if self.kind == FULL:
            # In F32 and in place: such a matrix is the largest thing in memory.
            covariance = self.products.cpu() / self.count
            mirror_lower(covariance)
            covariance.addr_(shift.float(), shift.float(), alpha=-1)
            covariance.diagonal().clamp_(min=0)
            result["covariance"] = covariance
            result["second_moment"] = covariance.diagonal().double() + mean**2
        else:
            variance = self.squares.cpu().double() / self.count - shift**2
            result["second_moment"] = variance.clamp(min=0) + mean**2
        if self.kind == FACTOR:
            test = self.test.cpu().double()
            product = self.sketch.cpu().double() / self.count
            # z z^T is about the pivot: x x^T = z z^T + z p^T + p z^T + p p^T.
            product += shift[:, None] * (pivot @ test) + pivot[:, None] * (mean @ test)
            root = root_of(product, test)
            result["factor"] = shared_directions(root, result["second_moment"], self.rank)
        return {name: value.float().contiguous() for name, value in result.items()}

    def memory_bytes(self):
        return sums_bytes(self.columns, self.kind, self.rank)


def buffer_rows(columns, kind):
    if kind != FULL:
        # About what a sketch of the default rank takes.
        return BUFFER_ROWS // 4
    # Half of what a matrix takes, or 2 MiB where that is little.
    return min(BUFFER_ROWS, max(columns // 2, (1 << 19) // columns))


def sketch_columns(columns, rank):
    """Four times the rank: what is thrown away of a sketch pays for the accuracy of the rest."""
    return min(4 * rank + 8, columns)


def sums_bytes(columns, kind, rank):
    sums = {FULL: columns, FACTOR: 2 * sketch_columns(columns, rank), DIAGONAL: 2}[kind]
    return 4 * columns * (sums + buffer_rows(columns, kind) + 5)


def test_matrix(columns, rank):
    """Orthonormal random directions [columns, l]: the same ones in every run."""
    generator = torch.Generator().manual_seed(columns)
    random = torch.randn(columns, sketch_columns(columns, rank), generator=generator)
    return torch.linalg.qr(random)[0].contiguous()


def mirror_lower(matrix):
    """Copies what is below the diagonal to above it, block by block."""
    for start in range(0, len(matrix), BLOCK):
        end = min(start + BLOCK, len(matrix))
        block = matrix[start:end, start:end]
        block.copy_(block.tril() + block.tril(-1).T)
        matrix[:start, start:end] = matrix[start:end, :start].T


def root_of(product, test):
    """R [n, l] with R R^T close to H from below, of `product` = H test.

    Nystroem's approximation with a small shift against rounding: Tropp, Yurtsever, Udell, Cevher,
    "Fixed-rank approximation of a positive-semidefinite matrix from streaming data", 2017."""
    shift = 1e-7 * float(product.norm())
    if shift == 0:
        return torch.zeros_like(product)
    product = product + shift * test
    core = test.T @ product
    values, vectors = torch.linalg.eigh((core + core.T) / 2)
    # Directions that rounding has made negative carry nothing.
    keep = values > 1e-3 * shift
    return product @ (vectors[:, keep] / values[keep].sqrt())


def shared_directions(root, diagonal, rank, turns=6):
    """F [n, rank] with F F^T + diag(d) close to H, d = diagonal - diag(F F^T), of H's root.

    Principal factors: what each input has for itself is d's, so F is of the leading directions of
    H - diag(d), and d follows from F, turn by turn. F leaves nothing of H's diagonal negative."""
    rest = (diagonal - root.square().sum(1)).clamp(min=0)
    basis, scale, _ = torch.linalg.svd(root, full_matrices=False)
    factor = basis[:, :rank] * scale[:rank]

    def product(own, x):
        return root @ (root.T @ x) + own[:, None] * x

    for _ in range(turns):
        own = rest - (diagonal - factor.square().sum(1)).clamp(min=0)
        basis = torch.linalg.qr(product(own, basis))[0]
        values, vectors = torch.linalg.eigh(basis.T @ product(own, basis))
        basis = basis @ vectors.flip(1)
        factor = basis[:, :rank] * values.flip(0)[:rank].clamp(min=0).sqrt()
    energies = factor.square().sum(1)
    shrink = (diagonal / energies.clamp(min=1e-300)).clamp(max=1).sqrt()
    result = torch.zeros(len(root), rank, dtype=root.dtype)
    result[:, : factor.shape[1]] = factor * shrink[:, None]
    return result


class Group:
    """Layers that have had the same inputs so far, and their one set of sums.

    Query, key and value read the same tensor; summing it up once saves most of the time. Rows that
    only some of the layers have shown yet are staged, and added when all have. A layer that shows
    something else instead leaves with a copy of the sums as they were."""

    def __init__(self, sums, begun):
        # `begun` tells what the sums began with.
        self.sums, self.begun, self.layers, self.calls = sums, begun, [], 0
        # Layers that have shown what is staged.
        self.shown = set()
        # Of what the latest call showed.
        self.identity = None

    def show(self, layer, x, rows):
        """A call of one of the layers, with nothing staged."""
        self.calls += 1
        self.identity = Identity(x)
        self.sums.stage(rows)
        self.show_again(layer)

    def show_again(self, layer):
        """The same inputs, at another layer."""
        self.shown.add(layer)
        if len(self.shown) == len(self.layers):
            self.settle()

    def settle(self):
        self.sums.commit()
        self.shown = set()

    def split(self):
        """Parts the layers that have shown what is staged from the others, who get a group."""
        others = Group(self.sums.copy(), self.begun)
        others.layers = [layer for layer in self.layers if layer not in self.shown]
        others.calls = self.calls
        self.layers = [layer for layer in self.layers if layer in self.shown]
        for layer in others.layers:
            layer.group = others
        self.settle()
        return others


class Identity:
    """Tells whether a tensor is the very same as before, unchanged. Keeps nothing alive."""

    def __init__(self, tensor):
        self.tensor, self.version = weakref.ref(tensor), version_of(tensor)

    def matches(self, tensor):
        return self.tensor() is tensor and self.version == version_of(tensor)


def version_of(tensor):
    """Counts changes in place; inference tensors do not count them."""
    return 0 if tensor.is_inference() else tensor._version


class Layer:
    """A watched module."""

    def __init__(self, name, module):
        self.name, self.module = name, module
        self.is_linear = isinstance(module, torch.nn.Linear)
        if self.is_linear:
            self.rows, self.columns = module.out_features, module.in_features
        else:
            height, width = module.kernel_size
            self.rows = module.out_channels
            self.columns = module.in_channels // module.groups * height * width
        self.kind = None
        self.group = None

    def inputs(self, x, mask, most_rows):
        """The layer's inputs as rows [m, columns]; of more than `most_rows`, evenly spaced ones."""
        if not self.is_linear:
            return patches(self.module, x, most_rows)
        rows = x.reshape(-1, x.shape[-1])
        if mask is not None and len(rows) == mask.numel():
            rows = rows[mask.flatten()]
        return rows if most_rows is None else rows[spaced(len(rows), most_rows, rows.device)]


def spaced(count, most, device):
    if count <= most:
        return slice(None)
    # Whole numbers: the same places in every run and on every device.
    return torch.arange(most, device=device) * count // most


def patches(module, x, most_rows):
    """What each output of a Conv2d sees [m, channels * height * width]; every group's, one after
    the other."""
    x = x if x.dim() == 4 else x[None]
    if any(module._reversed_padding_repeated_twice):
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        x = torch.nn.functional.pad(x, module._reversed_padding_repeated_twice, mode=mode)
    for dimension, size, stride, dilation in zip(
        (2, 3), module.kernel_size, module.stride, module.dilation
    ):
        x = x.unfold(dimension, (size - 1) * dilation + 1, stride)[..., ::dilation]
    batch, channels, height, width = x.shape[:4]
    # Views so far; only the patches that are wanted become copies.
    x = x.permute(0, 2, 3, 1, 4, 5)
    if most_rows is not None and batch * height * width > most_rows:
        place = spaced(batch * height * width, most_rows, x.device)
        x = x[place // (height * width), place // width % height, place % width]
    return x.reshape(-1, channels // module.groups * math.prod(module.kernel_size))


class Collector:
    """Watches a model's layers. Made by `collect`."""

    def __init__(self, model, full_limit, rank, memory, most_rows, prefix, resume):
        self.model, self.rank, self.most_rows = model, rank, most_rows
        self.mask = None
        self.is_paused = False
        self.seconds, self.started, self.calls = 0.0, time.perf_counter(), 0
        self.stopped = None
        self.groups = []
        # Groups of one call so far, by the id of what it showed.
        self.fresh = {}
        # The group whose statistics are being written, and these.
        self.computed = None, None
        self.earlier = SideCar(resume) if resume and os.path.exists(resume) else None
        self.layers = [Layer(prefix + name, module) for name, module in watched(model)]
        self.choose_kinds(full_limit, memory)
        for layer in self.layers:
            self.check_earlier(layer)
        self.handles = [
            layer.module.register_forward_pre_hook(self.hook_of(layer), with_kwargs=True)
            for layer in self.layers
        ]
        self.handles.append(model.register_forward_pre_hook(self.count_call))

    def choose_kinds(self, full_limit, memory):
        """Full matrices for the narrowest layers, as long as all of it stays inside `memory`."""
        weak = FACTOR if self.rank > 0 else DIAGONAL
        used = sum(sums_bytes(layer.columns, weak, self.rank) for layer in self.layers)
        for layer in sorted(self.layers, key=lambda layer: layer.columns):
            more = sums_bytes(layer.columns, FULL, 0) - sums_bytes(layer.columns, weak, self.rank)
            is_full = layer.columns <= full_limit and used + more <= memory
            layer.kind = FULL if is_full else weak
            used += more if is_full else 0
        self.most_bytes = used

    def check_earlier(self, layer):
        """What a file knows less well cannot be made good."""
        if self.earlier is None or layer.name not in self.earlier.layers:
            return
        found, expected = self.earlier.layers[layer.name], [layer.rows, layer.columns]
        if found != expected:
            raise ValueError(
                f"{self.earlier.path}: layer `{layer.name}` is {found} there, {expected} in this "
                "model; it belongs to another model"
            )
        order = [DIAGONAL, FACTOR, FULL]
        layer.kind = min(layer.kind, self.earlier.kind(layer.name), key=order.index)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.stop()

    def stop(self):
        """Takes the hooks off; what was collected stays."""
        for handle in self.handles:
            handle.remove()
        self.handles = []
        if self.stopped is None:
            self.stopped = time.perf_counter()

    def count_call(self, *_):
        self.calls += not self.is_paused

    def hook_of(self, layer):
        def hook(_module, arguments, keywords):
            if self.is_paused:
                return
            begin = time.perf_counter()
            x = arguments[0] if arguments else keywords.get("input", keywords.get("x"))
            if torch.is_tensor(x) and x.is_floating_point() and x.numel():
                # Sums outlive inference mode, and must not be taken in F16.
                in_full = torch.autocast(x.device.type, enabled=False)
                with torch.inference_mode(False), torch.no_grad(), in_full:
                    self.see(layer, x)
            self.seconds += time.perf_counter() - begin

        return hook

    def see(self, layer, x):
        group = layer.group
        if group is None:
            group = layer.group = self.group_of(layer, x)
            if group.calls:
                return
        if group.shown:
            if layer not in group.shown and group.identity.matches(x):
                group.show_again(layer)
                return
            self.groups.append(group.split())
            group = layer.group
        group.show(layer, x, layer.inputs(x, self.mask, self.most_rows))
        if group.calls == 1 and layer.is_linear:
            self.fresh[id(x)] = group

    def group_of(self, layer, x):
        """The group whose only call so far showed this very tensor, or a new one."""
        is_known = self.earlier is not None and layer.name in self.earlier.layers
        begun = self.earlier.beginning(layer.name) if is_known else None
        group = self.fresh.get(id(x)) if layer.is_linear else None
        is_same = group is not None and group.calls == 1 and group.identity.matches(x)
        if not is_same or group.sums.kind != layer.kind or group.begun != begun:
            group = Group(Sums(layer.columns, layer.kind, self.rank, x.device), begun)
            self.groups.append(group)
            if is_known:
                group.sums.begin(**self.earlier.values(layer.name))
        group.layers.append(layer)
        return group

    def save(self, path):
        """Writes the side-car, complete or not at all, and prints what was collected.

        May be called at any time; collecting goes on."""
        for group in list(self.groups):
            if group.shown:
                self.groups.append(group.split())
        for group in self.groups:
            group.sums.flush()
        called = [layer for layer in self.layers if layer.group and layer.group.sums.count]
        made = {layer.name: layer for layer in called}
        entries = {}
        shapes = dict(self.earlier.layers) if self.earlier else {}
        for name in shapes:
            if name not in made:
                entries.update(self.earlier.entries(name))
        for name, layer in made.items():
            shapes[name] = [layer.rows, layer.columns]
            entries.update(self.entries(layer))
        if not shapes:
            raise ValueError("no watched layer was called: use the model first, then save")
        counts = [entry[2]() for name, entry in entries.items() if name.endswith(".count")]
        samples = max(int.from_bytes(count, "little") for count in counts)
        try:
            write_side_car(path, shapes, entries, samples, self.earlier)
        finally:
            self.computed = None, None
        print(self.report(path, made), file=sys.stderr)

    def entries(self, layer):
        """Name: (dtype, shape, function that gives the bytes) of a layer's tensors."""
        n, group = layer.columns, layer.group
        count = struct.pack("<q", group.sums.count)
        shapes = {"mean": [n], "second_moment": [n]}
        if layer.kind == FULL:
            shapes["covariance"] = [n, n]
        elif layer.kind == FACTOR:
            shapes["factor"] = [n, min(self.rank, n)]
        entries = {f"{layer.name}.count": ("I64", [1], lambda: count)}
        for part, shape in shapes.items():
            give = functools.partial(self.part, group, part)
            entries[f"{layer.name}.{part}"] = "F32", shape, give
        return entries

    def part(self, group, name):
        """Bytes of one tensor. A layer's parts are asked for one after the other: one is held."""
        if self.computed[0] is not group:
            self.computed = None, None
            self.computed = group, group.sums.statistics()
        return as_bytes(self.computed[1][name])

    def memory_bytes(self):
        """What the sums take now."""
        return sum(group.sums.memory_bytes() for group in self.groups)

    def overhead(self):
        """(seconds spent on collecting, all seconds since the start). Of a GPU's work only what
        the program waits for is seen."""
        return self.seconds, (self.stopped or time.perf_counter()) - self.started

    def report(self, path, made):
        counts = [layer.group.sums.count for layer in made.values()]
        kinds = [layer.kind for layer in made.values()]
        seconds, wall = self.overhead()
        share = f"{seconds / (wall - seconds):.0%} on top of the rest" if wall > seconds else ""
        lines = [
            f"{path}: {len(made)} layers ({kinds.count(FULL)} full, {kinds.count(FACTOR)} of rank "
            f"{self.rank}, {kinds.count(DIAGONAL)} diagonal), "
            f"{min(counts, default=0)} to {max(counts, default=0)} samples each, "
            f"{self.calls} calls of the model",
            f"collecting took {seconds:.1f} of {wall:.1f} s ({share}) and "
            f"{self.memory_bytes() / 2**20:.0f} MiB",
        ]
        few = [layer for layer in made.values() if layer.group.sums.count < layer.columns]
        if few:
            lines.append(f"{len(few)} layers have fewer samples than columns: go on collecting")
        unseen = len(self.layers) - len(made)
        if unseen:
            lines.append(f"{unseen} layers were never called and are left out")
        ignored = sum(group.sums.ignored for group in self.groups)
        if ignored:
            lines.append(f"{ignored} inputs held infinities or NaN and were not counted")
        return "\n".join(lines)


def watched(model):
    """(name, module) of the layers whose weight a file holds under that name."""
    first = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        first.setdefault(id(parameter), name)
    layers = []
    for name, module in model.named_modules():
        if not name or not isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
            continue
        weight = getattr(module, "weight", None)
        # A weight that is tied to an embedding is stored as the embedding's.
        is_stored = first.get(id(weight), f"{name}.weight") == f"{name}.weight"
        if is_stored and getattr(module, "in_features", 1) > 0:
            layers.append((name, module))
    if not layers:
        raise ValueError("the model has no Linear or Conv2d layers inside")
    return layers


def collect(
    model,
    full_limit=FULL_LIMIT,
    rank=RANK,
    memory=MEMORY_LIMIT,
    most_rows=None,
    prefix="",
    resume=None,
):
    """Watches a `torch.nn.Module` until `stop`, or as long as a `with` block lasts.

    full_limit: most columns of a layer that gets its whole covariance
    rank: directions of wider layers; 0 keeps the diagonal only
    memory: bytes that all sums together may take; layers that find no room get `rank` directions
    most_rows: of each call of a layer, at most so many inputs, evenly spaced
    prefix: stands before the modules' names in the weight file
    resume: a side-car to go on from, if it exists

    While it runs, `mask` [batch, tokens] (bool) may say which tokens of a call count."""
    return Collector(model, full_limit, rank, memory, most_rows, prefix, resume)


class SideCar:
    """A side-car that is there: `layers` by name, [rows, columns]."""

    def __init__(self, path):
        self.path, self.file = path, open(path, "rb")
        length = struct.unpack("<Q", self.file.read(8))[0]
        if length > 100_000_000:
            raise ValueError(f"{path}: is not a safetensors file")
        header = json.loads(self.file.read(length))
        metadata = header.pop("__metadata__", {})
        if metadata.get("format") != FORMAT or metadata.get("version") != VERSION:
            raise ValueError(f"{path}: does not hold statistics of version {VERSION}")
        if fingerprint(metadata["layers"]) != metadata["fingerprint"]:
            raise ValueError(f"{path}: the fingerprint is not that of its layers")
        self.header, self.start, self.layers = header, 8 + length, {}
        for line in metadata["layers"].splitlines():
            name, rows, columns = line.rsplit(" ", 2)
            self.layers[name] = [int(rows), int(columns)]

    def kind(self, name):
        if f"{name}.mean" not in self.header:
            raise ValueError(f"{self.path}: layer `{name}` has no mean; collect into a new file")
        if f"{name}.covariance" in self.header:
            return FULL
        return FACTOR if f"{name}.factor" in self.header else DIAGONAL

    def read(self, name):
        begin, end = self.header[name]["data_offsets"]
        self.file.seek(self.start + begin)
        data = self.file.read(end - begin)
        if len(data) != end - begin:
            raise ValueError(f"{self.path}: the file is cut short")
        return data

    def beginning(self, name):
        """Layers with the same inputs have the same numbers; these tell others apart."""
        return self.read(f"{name}.count"), self.read(f"{name}.mean"), self.kind(name)

    def values(self, name):
        """Arguments of `Sums.begin`."""
        result = {"count": struct.unpack("<q", self.read(f"{name}.count"))[0]}
        for part in ("mean", "second_moment", "factor", "covariance"):
            entry = self.header.get(f"{name}.{part}")
            if entry is not None:
                data = torch.frombuffer(bytearray(self.read(f"{name}.{part}")), dtype=torch.float32)
                result[part] = data.reshape(entry["shape"]).double()
        return result

    def entries(self, name):
        """The layer as it is, for another file."""
        parts = ("count", "mean", "second_moment", "factor", "covariance")
        names = [f"{name}.{part}" for part in parts]
        return {
            name: (
                self.header[name]["dtype"],
                self.header[name]["shape"],
                lambda name=name: self.read(name),
            )
            for name in names
            if name in self.header
        }


def fingerprint(text):
    """Hash of the lines `module rows columns`, sorted by module, each ended by a line feed."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def as_bytes(tensor):
    """The tensor's memory as it is, valid while the tensor is; torch may come without numpy."""
    assert tensor.is_contiguous() and tensor.device.type == "cpu"
    size = tensor.numel() * tensor.element_size()
    return (ctypes.c_char * size).from_address(tensor.data_ptr())


def write_side_car(path, shapes, entries, samples, earlier):
    """Writes a safetensors file beside `path` and renames it; `earlier` may be what it replaces."""
    names = sorted(shapes, key=str.encode)
    listed = "".join(f"{name} {shapes[name][0]} {shapes[name][1]}\n" for name in names)
    header = {
        "__metadata__": {
            "fingerprint": fingerprint(listed),
            "format": FORMAT,
            "layers": listed,
            "samples": str(samples),
            "tool": TOOL,
            "version": VERSION,
        }
    }
    # The wider dtype first, as the reference writer does it.
    order = sorted(entries, key=lambda name: (entries[name][0] != "I64", name.encode()))
    end = 0
    for name in order:
        dtype, shape, _ = entries[name]
        begin, end = end, end + math.prod(shape) * (8 if dtype == "I64" else 4)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    path = Path(path)
    partial = tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name[:40]}.", suffix=".partial", delete=False
    )
    try:
        with partial as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for name in order:
                file.write(entries[name][2]())
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial.name, 0o666 & ~current_umask())
        is_own = earlier is not None and path.exists() and os.path.samefile(path, earlier.path)
        if is_own:
            # Windows replaces no open file. What is still unread there has just been copied.
            earlier.file.close()
        os.replace(partial.name, path)
        if is_own:
            earlier.__init__(path)
    except BaseException:
        os.unlink(partial.name)
        raise


def current_umask():
    """Temporary files are private; this one becomes a normal file."""
    umask = os.umask(0)
    os.umask(umask)
    return umask


# ComfyUI


class CollectNode:
    """Passes a model and a text encoder on, and watches their layers from then on."""

    CATEGORY = "roundwise"
    FUNCTION = "attach"
    RETURN_TYPES = ("MODEL", "CLIP")
    DESCRIPTION = "Collects statistics of layer inputs while images are generated."

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": ("MODEL",),
                "rank": ("INT", {"default": RANK, "min": 0, "max": 1024}),
                "full_limit": ("INT", {"default": 0, "min": 0, "max": 16384}),
                "memory_gib": ("FLOAT", {"default": 2.0, "min": 0.1, "max": 1024.0}),
                "most_rows": ("INT", {"default": 1024, "min": 1, "max": 1 << 20}),
                # `model.diffusion_model.` where the weights are in a whole checkpoint.
                "prefix": ("STRING", {"default": ""}),
            },
            "optional": {"clip": ("CLIP",)},
        }

    def attach(self, model, rank, full_limit, memory_gib, most_rows, prefix, clip=None):
        options = {
            "rank": rank,
            "full_limit": full_limit,
            "memory": int(memory_gib * 2**30),
            "most_rows": most_rows,
        }
        attach("", model.model.diffusion_model, prefix=prefix, **options)
        for name, encoder in text_encoders(clip):
            attach(name, encoder, **options)
        return model, clip


class SaveNode:
    """Saves what has been collected so far; collecting goes on."""

    CATEGORY = "roundwise"
    FUNCTION = "save"
    RETURN_TYPES = ()
    OUTPUT_NODE = True
    DESCRIPTION = "Writes NAME.stats.safetensors, and NAME.ENCODER.stats.safetensors for text encoders."

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                # Something that is there only after sampling, so that this runs last.
                "images": ("IMAGE",),
                "name": ("STRING", {"default": "model"}),
            }
        }

    @classmethod
    def IS_CHANGED(cls, **_):
        return float("nan")

    def save(self, images, name):
        from folder_paths import get_output_directory

        folder = Path(get_output_directory())
        for part, (collector, _) in ATTACHED.items():
            if any(layer.group for layer in collector.layers):
                stem = ".".join(filter(None, (Path(name).name, part)))
                collector.save(folder / f"{stem}.stats.safetensors")
        return {}


# Collectors of this process: name of the part -> (collector, its options).
ATTACHED = {}


def attach(part, module, **options):
    """Watches a module, once. Another model in its place, or other options, begin anew."""
    collector, before = ATTACHED.get(part, (None, None))
    if collector is not None:
        if collector.model is module and before == options:
            return
        collector.stop()
    ATTACHED[part] = collect(module, **options), options


def text_encoders(clip):
    """(name, module) of a CLIP's encoders; each has its own weight file, with names from its
    `transformer` on."""
    if clip is None:
        return []
    root = clip.cond_stage_model
    found = [
        (name.rpartition(".")[2] or "clip", module.transformer)
        for name, module in root.named_modules()
        if isinstance(getattr(module, "transformer", None), torch.nn.Module)
    ]
    return found or [("clip", root)]


NODE_CLASS_MAPPINGS = {"RoundwiseCollect": CollectNode, "RoundwiseSaveStatistics": SaveNode}
NODE_DISPLAY_NAME_MAPPINGS = {
    "RoundwiseCollect": "Collect layer statistics",
    "RoundwiseSaveStatistics": "Save layer statistics",
}


# The command


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="folder of a transformers model")
    parser.add_argument("texts", nargs="?", help="text file, a text on each line")
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--self", action="store_true", help="let the model write its own text")
    parser.add_argument("--samples", type=int, help="texts to read or write [default: all, or 64]")
    parser.add_argument("--tokens", type=int, default=512, help="longest text [default: 512]")
    parser.add_argument("--batch", type=int, default=1, help="texts at once [default: 1]")
    parser.add_argument("--seed", type=int, default=0, help="of the model's own text")
    parser.add_argument("--full-limit", type=int, default=FULL_LIMIT)
    parser.add_argument("--rank", type=int, default=RANK)
    parser.add_argument("--memory", type=float, default=MEMORY_LIMIT / 2**30, help="GiB for sums")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--resume", action="store_true", help="go on from the output, if it exists")
    options = parser.parse_args()
    if options.self == bool(options.texts):
        parser.error("give a text file, or --self for the model's own text")
    if os.path.exists(options.output) and not options.resume:
        parser.error(f"{options.output} exists: go on from it with --resume, or remove it")
    try:
        import transformers
    except ImportError:
        sys.exit("this needs the Python package transformers: pip install transformers")
    try:
        run(transformers, options)
    except (OSError, ValueError) as error:
        sys.exit(f"roundwise_collect: {error}")


def run(transformers, options):
    config = transformers.AutoConfig.from_pretrained(options.model)
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.model)
    # The class that the file was saved from has the file's names.
    named = getattr(transformers, (config.architectures or [""])[0], None)
    automatic = transformers.AutoModelForCausalLM if options.self else transformers.AutoModel
    model = (named or automatic).from_pretrained(options.model, dtype="auto")
    model = model.to(options.device).eval()
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    with torch.no_grad(), collect(
        model,
        full_limit=options.full_limit,
        rank=options.rank,
        memory=int(options.memory * 2**30),
        resume=options.output if options.resume else None,
    ) as collector:
        print(f"sums take at most {collector.most_bytes / 2**20:.0f} MiB", file=sys.stderr)
        batches = own_texts if options.self else read_texts
        for tokens, mask in batches(transformers, model, tokenizer, options, collector):
            # Padding is no input that the model will see.
            collector.mask = mask.bool()
            model(input_ids=tokens, attention_mask=mask)
    collector.save(options.output)


def read_texts(_transformers, model, tokenizer, options, _collector):
    with open(options.texts, encoding="utf-8", errors="replace") as file:
        texts = [line.strip() for line in file if line.strip()][: options.samples]
    if not texts:
        raise ValueError(f"{options.texts}: holds no text")
    for start in range(0, len(texts), options.batch):
        batch = tokenizer(
            texts[start : start + options.batch],
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=options.tokens,
        ).to(model.device)
        yield batch["input_ids"], batch["attention_mask"]


def own_texts(transformers, model, tokenizer, options, collector):
    """Texts that the model writes at temperature 1, from nothing but the token that begins one."""
    if not model.can_generate():
        raise ValueError(f"{options.model}: cannot write text; give a text file instead of --self")
    torch.manual_seed(options.seed)
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    end = tokenizer.eos_token_id
    if first is None:
        raise ValueError(f"{options.model}: the tokenizer knows no token that begins a text")
    how = transformers.GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=options.tokens - 1,
        eos_token_id=end,
        pad_token_id=tokenizer.pad_token_id,
    )
    samples = options.samples or 64
    for start in range(0, samples, options.batch):
        begin = torch.full((min(options.batch, samples - start), 1), first, device=model.device)
        # Writing goes token by token; reading the whole again costs less than watching that.
        collector.is_paused = True
        tokens = model.generate(begin, attention_mask=torch.ones_like(begin), generation_config=how)
        collector.is_paused = False
        ended = (tokens[:, 1:] == end).long().cumsum(1) if end is not None else tokens[:, 1:] * 0
        # Everything up to the first end is text, the end included.
        is_after = torch.nn.functional.pad(ended, (2, 0))[:, :-1] > 0
        yield tokens, (~is_after).long()


if __name__ == "__main__":
    main()
