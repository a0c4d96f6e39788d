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

Watched are `Linear` and `Conv2d` layers (a convolution's inputs are its patches), and experts that transformers joins. Per layer: number of
inputs x, mean, largest |x_j|, E[x_j^2] and, up to `full_limit` columns, the covariance; of wider layers a sketch of
E[x x^T], of which `rank` directions are kept. Layers that make attention's values have the same of their
inputs as attention mixes them. With `curvature`, calls of the model have a backward pass, and layers the
same of their inputs weighted by the gradient at their output. `docs/statistics.md` of roundwise describes
the file and all of this.
"""

import argparse
import contextlib
import ctypes
import functools
import hashlib
import inspect
import json
import math
import os
import struct
import sys
import tempfile
import threading
import time
import weakref
from pathlib import Path

import torch
from torch.utils._pytree import tree_flatten, tree_unflatten

FORMAT = "roundwise-stats"
# Files with nothing but plain second moments have the first.
VERSIONS = ("1", "2")
TOOL = "roundwise_collect 2"

# Layers of up to so many columns get a full matrix, narrowest first, while there is memory for them.
FULL_LIMIT = 4096
MEMORY_LIMIT = 4 << 30
RANK = 64

# Products are taken of up to so many rows at once: with fewer, adding to the sums takes the time.
BUFFER_ROWS = 1024
# Rows of blocks of a symmetric product; only blocks on and below the diagonal are computed.
BLOCK = 256

FULL, FACTOR, DIAGONAL = "full", "factor", "diagonal"

# What is summed: x x^T of all inputs; z z^T of inputs as attention mixes them, for value projections;
# |g|^2 x x^T with the gradient g at the layer's output.
PLAIN, MIXED, WEIGHTED = "plain", "mixed", "weighted"

# Directions kept of gradients' second moment.
GRADIENT_RANK = 32
# Numbers of attention's probabilities that are in memory at once, and tokens up to which the sums
# of their products are: 16 and 64 MiB.
PROBABILITIES, GRAM_TOKENS = 1 << 22, 4096
# Tokens by whose values an attention's value is recognised as a layer's output; with fewer than the
# latter, chance might do it. Attentions that a layer may precede before it is known for none.
SAMPLED, LEAST_SAMPLED, TRIES = 8, 4, 3


class Moment:
    """Sum of z z^T over vectors z [n]: whole, as a sketch, or its diagonal.

    `products` holds the blocks on and below the diagonal, `sketch` is the sum times a random `test`
    [n, l], `squares` the diagonal, where `products` does not have it."""

    def __init__(self, columns, kind, rank, device):
        self.columns, self.kind, self.device = columns, kind, device
        self.rank = min(rank, columns)
        self.squares = self.products = self.sketch = self.test = None
        if kind == FULL:
            self.products = torch.zeros(columns, columns, device=device)
        else:
            self.squares = torch.zeros(columns, dtype=wide(device), device=device)
        if kind == FACTOR:
            self.test = test_matrix(columns, self.rank).to(device)
            self.sketch = torch.zeros_like(self.test)

    def copy(self):
        """An independent one with the same content."""
        other = object.__new__(Moment)
        other.__dict__.update(self.__dict__)
        for name in ("squares", "products", "sketch"):
            value = getattr(self, name)
            setattr(other, name, None if value is None else value.clone())
        return other

    def add(self, rows):
        """Adds the vectors z, F32 [m, n]."""
        self.add_pairs(rows, rows)

    def add_mixed(self, rows, gram):
        """Adds X^T gram X, X [m, n] and a symmetric gram [m, m]."""
        if self.kind == FULL:
            self.add_pairs(rows, gram @ rows)
            return
        self.squares += (rows * (gram @ rows)).sum(0)
        if self.kind == FACTOR:
            self.sketch.addmm_(rows.T, gram @ (rows @ self.test))

    def add_pairs(self, left, right):
        """Adds left^T right, which is symmetric."""
        if self.kind == FULL:
            for start in range(0, self.columns, BLOCK):
                end = min(start + BLOCK, self.columns)
                self.products[start:end, :end].addmm_(left[:, start:end].T, right[:, :end])
            return
        self.squares += (left * right).sum(0)
        if self.kind == FACTOR:
            self.sketch.addmm_(left.T, right @ self.test)

    def matrix(self, total):
        """The whole, over `total`, F32 on the CPU."""
        # In F32 and in place: such a matrix is the largest thing in memory.
        matrix = self.products.cpu() / total
        mirror_lower(matrix)
        return matrix

    def diagonal(self, total):
        values = self.products.diagonal() if self.kind == FULL else self.squares
        return values.cpu().double() / total

    def parts(self, total):
        """The tensors that a file has of the sum over `total`, about zero."""
        result = {"second_moment": self.diagonal(total).clamp(min=0)}
        if self.kind == FULL:
            result["moment"] = self.matrix(total)
        elif self.kind == FACTOR:
            root = root_of(self.sketch.cpu().double() / total, self.test.cpu().double())
            result["factor"] = shared_directions(root, result["second_moment"], self.rank)
        return {name: value.float().contiguous() for name, value in result.items()}

    def begin(self, total, second_moment, factor=None, moment=None):
        """Continues from `parts` of a file, in F64."""
        if self.kind == FULL:
            self.products.copy_(moment * total)
            return
        self.squares.copy_(second_moment * total)
        if self.kind == FACTOR:
            test = self.test.cpu().double()
            if moment is not None:
                product = moment @ test
            else:
                product = times_factored(factor, second_moment, test)
            self.sketch.copy_(product * total)


def wide(device):
    """MPS has no F64."""
    return torch.float32 if device.type == "mps" else torch.float64


def times_factored(factor, diagonal, x):
    """(F F^T + diag(d)) x, d what F leaves of the diagonal."""
    residual = (diagonal - factor.square().sum(1)).clamp(min=0)
    return factor @ (factor.T @ x) + residual[:, None] * x


class Sums:
    """Sums over the inputs x of one layer, or of several that see the same inputs.

    Everything is summed about a pivot p near the mean, because sums about zero lose the digits of
    a small variance beside a large mean. With z = x - p: `sum` is of z, `moment` of z z^T."""

    def __init__(self, columns, kind, rank, device):
        self.columns, self.kind, self.device = columns, kind, device
        self.moment = Moment(columns, kind, rank, device)
        self.count = 0
        self.pivot = None
        self.sum = torch.zeros(columns, dtype=wide(device), device=device)
        # The largest |x_j|; None where what it began with does not tell it.
        self.largest = torch.zeros((), device=device)
        self.staged = None
        self.buffer = torch.empty(buffer_rows(columns, kind), columns, device=device)
        self.buffered = 0
        self.ignored = 0

    def copy(self):
        """An independent one with the same content."""
        other = object.__new__(Sums)
        other.__dict__.update(self.__dict__)
        other.staged = None
        for name in ("sum", "buffer"):
            setattr(other, name, getattr(self, name).clone())
        other.moment = self.moment.copy()
        return other

    def begin(self, count, mean, second_moment, factor=None, covariance=None, largest=None):
        """Continues from what a file holds, all in F64."""
        self.count, self.pivot = count, mean.float().to(self.device)
        self.largest = None if largest is None else largest[0].float().to(self.device)
        moment = self.moment
        if self.kind == FULL:
            moment.products.copy_(covariance * count)
            return
        moment.squares.copy_((second_moment - mean**2).clamp(min=0) * count)
        if self.kind == FACTOR:
            test = moment.test.cpu().double()
            if covariance is not None:
                product = covariance @ test
            else:
                product = times_factored(factor, second_moment, test)
                product -= mean[:, None] * (mean @ test)
            moment.sketch.copy_(product * count)

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
        if self.largest is not None and len(rows):
            ends = torch.stack(torch.aminmax(rows, dim=0)) + self.pivot
            self.largest = torch.maximum(self.largest, ends.abs().amax())
        self.moment.add(rows)

    def statistics(self):
        """The layer's tensors as the file has them, F32 on the CPU."""
        self.flush()
        pivot, shift = self.pivot.cpu().double(), self.sum.cpu().double() / self.count
        mean = pivot + shift
        result = {"mean": mean}
        if self.kind == FULL:
            covariance = self.moment.matrix(self.count)
            covariance.addr_(shift.float(), shift.float(), alpha=-1)
            covariance.diagonal().clamp_(min=0)
            result["covariance"] = covariance
            result["second_moment"] = covariance.diagonal().double() + mean**2
        else:
            variance = self.moment.diagonal(self.count) - shift**2
            result["second_moment"] = variance.clamp(min=0) + mean**2
        if self.kind == FACTOR:
            test = self.moment.test.cpu().double()
            product = self.moment.sketch.cpu().double() / self.count
            # z z^T is about the pivot: x x^T = z z^T + z p^T + p z^T + p p^T.
            product += shift[:, None] * (pivot @ test) + pivot[:, None] * (mean @ test)
            root = root_of(product, test)
            result["factor"] = shared_directions(root, result["second_moment"], self.moment.rank)
        if self.largest is not None:
            result["largest"] = self.largest.cpu().reshape(1)
        return {name: value.float().contiguous() for name, value in result.items()}

    def memory_bytes(self):
        return sums_bytes(self.columns, self.kind, self.moment.rank)


def buffer_rows(columns, kind):
    if kind == DIAGONAL:
        # No product waits for more rows.
        return BUFFER_ROWS // 64
    if kind != FULL:
        # About what a sketch of the default rank takes.
        return BUFFER_ROWS // 4
    # Half of what a matrix takes, or 2 MiB where that is little.
    return min(BUFFER_ROWS, max(columns // 2, (1 << 19) // columns))


def sketch_columns(columns, rank):
    """Four times the rank: what is thrown away of a sketch pays for the accuracy of the rest."""
    return min(4 * rank + 8, columns)


def moment_bytes(columns, kind, rank):
    sums = {FULL: columns, FACTOR: 2 * sketch_columns(columns, rank), DIAGONAL: 2}[kind]
    return 4 * columns * sums


def sums_bytes(columns, kind, rank):
    return moment_bytes(columns, kind, rank) + 4 * columns * (buffer_rows(columns, kind) + 5)


def gradients_bytes(layer, kind, rank, gradient_rank):
    output = FACTOR if gradient_rank else DIAGONAL
    return moment_bytes(layer.columns, kind, rank) + moment_bytes(layer.rows, output, gradient_rank)


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


class Mixture:
    """Sums over a value projection's inputs as attention mixes them.

    A head's output at a query is W z, z = sum_t A[head, query, t] x_t with the probabilities A, W the
    head's rows of the weight. So the sum of z z^T is what errors of W are to be measured by: the
    second derivative of the error of attention's output."""

    def __init__(self, layer, outputs, kind, rank, device):
        # Which of the layer's outputs are a head's values, head by head; and their [first, end).
        self.outputs, self.rows = outputs, ranges(outputs)
        if self.rows == [[0, layer.rows]]:
            self.rows = []
        self.count = 0
        self.moment = Moment(layer.columns, kind, rank, device)

    def begin(self, count, **values):
        self.count = count
        self.moment.begin(count, **values)

    def add(self, x, call, batch, tokens, queries):
        """Adds what the chosen queries make of x [t, n], which stands at those tokens."""
        x = x.float()
        count = len(queries)
        n, heads = x.shape[1], call.query.shape[1]
        width = {FULL: n, FACTOR: sketch_columns(n, self.moment.rank), DIAGONAL: 1}[self.moment.kind]
        # Either A x, or the sum of A^T A between x^T and x, whichever takes fewer products.
        is_gram = len(x) <= GRAM_TOKENS and len(x) ** 2 * (heads * count + n) + len(x) * n * width < (
            heads * count * n * (len(x) + width)
        )
        gram = torch.zeros(len(x), len(x), device=x.device) if is_gram else None
        step = max(1, PROBABILITIES // (heads * call.key.shape[2]))
        for part in queries.split(step):
            mixing = call.probabilities(batch, part)[:, :, tokens].flatten(0, 1)
            if is_gram:
                gram.addmm_(mixing.T, mixing)
            else:
                self.moment.add(mixing @ x)
        if is_gram:
            self.moment.add_mixed(x, gram)
        self.count += count

    def is_usable(self):
        return self.count > 0 and bool(torch.isfinite(self.moment.diagonal(self.count)).all())

    def statistics(self):
        parts = self.moment.parts(self.count)
        return {f"mixed_{name}": value for name, value in parts.items()}

    def memory_bytes(self):
        return moment_bytes(self.moment.columns, self.moment.kind, self.moment.rank)


class Gradients:
    """Sums over the gradients g at a layer's outputs, and over |g|^2 x x^T with its inputs x."""

    def __init__(self, layer, rank, gradient_rank, device):
        self.layer = layer
        self.energy = torch.zeros((), dtype=wide(device), device=device)
        self.weighted = Moment(layer.columns, layer.weighted_kind, rank, device)
        kind = FACTOR if gradient_rank else DIAGONAL
        # A convolution's groups are samples of their own.
        outputs = layer.rows // getattr(layer.module, "groups", 1)
        self.outputs = Moment(outputs, kind, gradient_rank, device)
        # Predictions that a file knew before.
        self.begun = 0

    def begin(self, count, mean_square, weighted, outputs):
        """Continues from what a file holds."""
        self.begun = count
        self.energy += float(mean_square) * count * self.layer.rows
        if weighted is not None:
            self.weighted.begin(count, **weighted)
        if outputs is not None:
            self.outputs.begin(count, **outputs)

    def add(self, x, g):
        """Inputs [m, n] and the gradients at their outputs."""
        x, g = x.float(), g.float()
        weights = g.square().sum(1)
        self.energy += weights.sum()
        self.weighted.add(x * weights.sqrt()[:, None])
        self.outputs.add(g)

    def is_usable(self):
        """Whether gradients came, and all were numbers."""
        sums = self.weighted.diagonal(1), self.outputs.diagonal(1)
        return 0 < float(self.energy) < math.inf and all(part.isfinite().all() for part in sums)

    def statistics(self, predictions):
        total = self.begun + predictions
        mean_square = self.energy.cpu().double() / total / self.layer.rows
        result = {"gradient_mean_square": mean_square.float().reshape(1)}
        for prefix, moment in (("weighted", self.weighted), ("gradient", self.outputs)):
            if moment is self.outputs and self.outputs.columns != self.layer.rows:
                continue
            for name, value in moment.parts(total).items():
                result[f"{prefix}_{name}"] = value
        return result

    def memory_bytes(self):
        moments = (self.weighted, self.outputs)
        return sum(moment_bytes(m.columns, m.kind, m.rank) for m in moments)


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
        self.kind = self.weighted_kind = None
        self.group = self.mixture = self.gradients = None
        # Directions of the gradients at its outputs; None for as many as is said.
        self.gradient_rank = None
        # Attentions that followed without being this layer's, while it is not known for a value's.
        self.tries = TRIES if isinstance(module, Expert) else 0

    def inputs(self, x, mask, most_rows):
        """The layer's inputs as rows [m, columns]; of more than `most_rows`, evenly spaced ones."""
        if not self.is_linear:
            return patches(self.module, x, most_rows)
        rows = counted(x.reshape(-1, x.shape[-1]), mask)
        return rows if most_rows is None else rows[spaced(len(rows), most_rows, rows.device)]

    def outputs(self, y, mask):
        """What belongs to the output as rows, in the order of all `inputs`."""
        if self.is_linear:
            return counted(y.reshape(-1, y.shape[-1]), mask)
        y = y if y.dim() == 4 else y[None]
        return y.permute(0, 2, 3, 1).reshape(-1, self.rows // self.module.groups)


def counted(rows, mask):
    """Without what a mask of the same tokens leaves out."""
    is_masked = mask is not None and len(rows) == mask.numel()
    return rows[mask.flatten().to(rows.device)] if is_masked else rows


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


# Experts


class Expert(torch.nn.Linear):
    """One matrix of one expert of a bank, in which a module of transformers has those of all its experts.

    Hooks see its calls like those of any layer; the numbers stay in the bank."""

    def __init__(self, module, bank, expert, rows):
        torch.nn.Module.__init__(self)
        weight = getattr(module, bank)
        self.in_features = weight.shape[1 if module.is_transposed else 2]
        self.out_features = len(rows)
        # In a tuple, so that the module does not become a part of this one.
        self.place, self.order = (module, bank, expert), rows
        first = int(rows[0])
        is_line = torch.equal(rows, first + torch.arange(len(rows)))
        # A view where it can be one.
        self.rows = slice(first, first + len(rows)) if is_line else rows.to(weight.device)

    def forward(self, x):
        module, bank, expert = self.place
        weight = getattr(module, bank)[expert]
        weight = weight.T if module.is_transposed else weight
        return torch.nn.functional.linear(x, weight[self.rows])


class Experts:
    """Stands for the `forward` of a module with banks: calls each matrix of an expert as a layer."""

    def __init__(self, collector, module, matrices):
        self.collector, self.module = collector, module
        self.first, self.last = banks_of(module)
        # The matrices of each expert, by bank and expert; and where the rows of a bank are among their outputs,
        # unless they are in its order.
        self.matrices, self.orders = {}, {}
        for matrix in matrices:
            _, bank, expert = matrix.place
            self.matrices.setdefault((bank, expert), []).append(matrix)
        for place, parts in self.matrices.items():
            rows = torch.cat([part.order for part in parts])
            if not torch.equal(rows, torch.arange(len(rows))):
                self.orders[place] = rows.argsort().to(getattr(module, place[0]).device)
        self.before = vars(module).get("forward")
        module.forward = self

    def leave(self):
        if self.before is None:
            del self.module.forward
        else:
            self.module.forward = self.before

    def __call__(self, hidden_states, top_k_index, top_k_weights):
        result = torch.zeros_like(hidden_states)
        for expert in top_k_index.unique().tolist():
            # One past the last stands for experts of another device.
            if (self.first, expert) not in self.matrices:
                continue
            tokens, places = torch.where(top_k_index == expert)
            with self.collector.shown_tokens(tokens, len(hidden_states)):
                y = self.outputs(expert, hidden_states[tokens])
            y = y * top_k_weights[tokens, places, None]
            result = result.index_add(0, tokens, y.to(result.dtype))
        return result

    def outputs(self, expert, x):
        module = self.module
        x = self.multiplied(self.first, expert, x)
        x = module._apply_gate(x) if module.has_gate else module.act_fn(x)
        x = self.multiplied(self.last, expert, x)
        return module.post_expert_norm(x) if module.has_post_expert_norm else x

    def multiplied(self, bank, expert, x):
        parts = [matrix(x) for matrix in self.matrices[bank, expert]]
        y = parts[0] if len(parts) == 1 else torch.cat(parts, -1)
        if (bank, expert) in self.orders:
            y = y[..., self.orders[bank, expert]]
        return y + getattr(self.module, f"{bank}_bias")[expert] if self.module.has_bias else y


def banks_of(module):
    """The names of its banks: of the matrices that read tokens, and of those that write the answer."""
    return ("gate_up_proj" if module.has_gate else "up_proj"), "down_proj"


def experts_of(model):
    """Modules with banks whose matrices the model's file holds one by one: [(module, [(name, Expert)])]; the names of
    those with others; and why names could not be asked for.

    Their names are those under which transformers itself would write them."""
    modules = {
        name: module
        for name, module in model.named_modules()
        if all(hasattr(module, flag) for flag in ("is_transposed", "has_gate", "has_bias", "has_post_expert_norm"))
    }
    # Every row of every bank has a number of its own, and is followed to where it is written.
    numbers, places, numbered_rows = {}, [], 0
    for name, module in modules.items():
        for bank in banks_of(module):
            count, *sides = getattr(module, bank).shape
            rows = sides[1 if module.is_transposed else 0]
            numbered = torch.arange(numbered_rows, numbered_rows + count * rows).reshape(count, rows, 1)
            numbers[f"{name}.{bank}"] = numbered.mT if module.is_transposed else numbered
            places.append((numbered_rows, name, bank, rows))
            numbered_rows += count * rows
    found = {name: [] for name in modules}
    covered = dict.fromkeys(modules, 0)
    written, problem = written_as(model, numbers) if modules else ({}, None)
    for name, tensor in written.items():
        if tensor.dim() != 2 or not name.endswith(".weight"):
            continue
        row = tensor.flatten()
        start, owner, bank, rows = next(place for place in reversed(places) if place[0] <= int(row[0]))
        row = row - start
        if bool((row // rows == row[0] // rows).all()):
            expert = Expert(modules[owner], bank, int(row[0]) // rows, row % rows)
            found[owner].append((name.removesuffix(".weight"), expert))
            covered[owner] += len(row)
    whole = {name: sum(numbers[f"{name}.{bank}"].numel() for bank in banks_of(module)) for name, module in modules.items()}
    known = [(modules[name], found[name]) for name in modules if covered[name] == whole[name]]
    return known, [name for name in modules if covered[name] != whole[name]], problem


def written_as(model, tensors):
    """What transformers writes of a model's parameters, by the names in the file; or why it cannot be asked."""
    try:
        from transformers.core_model_loading import revert_weight_conversion

        return revert_weight_conversion(model, tensors), None
    except Exception as error:  # noqa: BLE001, whatever another version has there: the experts are left out, and told
        return {}, f"{type(error).__name__}: {error}".splitlines()[0]


# Attention


class AttentionCall:
    """What an attention function was called with: heads of queries [b, h, s, d], keys [b, k, t, d] and
    values [b, v, t, d]; k and v divide h."""

    def __init__(self, query, key, value, mask=None, is_causal=False, scale=None, weights=None):
        self.query, self.key, self.value, self.weights = query, key, value, weights
        self.is_causal, self.mask = is_causal, mask
        self.scale = query.shape[-1] ** -0.5 if scale is None else scale
        if mask is not None:
            self.mask = mask[(None,) * (4 - mask.dim())]

    def probabilities(self, batch, queries):
        """[h, q, t] in F32 of the chosen queries. Queries that see nothing have zeros."""
        if self.weights is not None:
            # Columns past the values' are sinks'.
            return self.weights[batch][:, queries, : self.value.shape[2]].float()
        key = self.key[batch].float()
        query = self.query[batch][:, queries].float() * self.scale
        heads, count, width = query.shape
        grouped = query.reshape(len(key), -1, width)
        scores = (grouped @ key.transpose(1, 2)).view(heads, count, key.shape[1])
        if self.is_causal:
            later = torch.arange(key.shape[1], device=key.device) > queries[:, None]
            scores.masked_fill_(later, -math.inf)
        if self.mask is not None:
            mask = self.mask[batch if len(self.mask) > 1 else 0]
            mask = mask[:, queries] if mask.shape[1] > 1 else mask
            if mask.dtype == torch.bool:
                scores.masked_fill_(~mask, -math.inf)
            else:
                scores += mask
        return torch.softmax(scores, -1).nan_to_num_(0)


def torch_call(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, **keywords):
    """Of `torch.nn.functional.scaled_dot_product_attention`."""
    scale = keywords.get("scale")
    if query.dim() == 3:
        query, key, value = query[None], key[None], value[None]
        if attn_mask is not None and attn_mask.dim() == 3:
            attn_mask = attn_mask[None]
    return AttentionCall(query, key, value, attn_mask, is_causal, scale)


def eager_call(result, _module, query, key, value, *_, **__):
    """Of a transformers model's own function, which returns its probabilities."""
    weights = result[1] if isinstance(result, tuple) and len(result) > 1 else None
    return None if weights is None else AttentionCall(query, key, value, weights=weights)


def comfy_call(query, key, value, heads, mask=None, _precision=None, skip_reshape=False, *_, **keywords):
    """Of ComfyUI's functions, with and without heads as a dimension."""
    query, key, value = (x.peek() if hasattr(x, "peek") else x for x in (query, key, value))
    mask, skip_reshape = keywords.get("mask", mask), keywords.get("skip_reshape", skip_reshape)
    if not skip_reshape:
        width = query.flatten(2).shape[-1] // heads
        # With heads as the last dimension but one, or without.
        parts = (x.flatten(2).unflatten(-1, (-1, width)) for x in (query, key, value))
        query, key, value = (x.transpose(1, 2) for x in parts)
    if mask is not None and mask.dim() == 3:
        mask = mask[:, None]
    return AttentionCall(query, key, value, mask, scale=keywords.get("scale"))


class Attentions:
    """Stands before the attention functions that are known, while collectors are there."""

    def __init__(self):
        self.collectors, self.replaced = [], []
        # What stands before a function, by the function's id.
        self.tellers = {}
        # An attention function may call another.
        self.inside = threading.local()

    def tell(self, collector):
        self.replace()
        self.collectors.append(collector)

    def leave(self, collector):
        if collector in self.collectors:
            self.collectors.remove(collector)
            if not self.collectors:
                for place, name, original in reversed(self.replaced):
                    place[name] = original
                self.replaced = []

    def known(self):
        """Attention functions, what reads their arguments, and whether that needs the result."""
        yield torch.nn.functional.scaled_dot_product_attention, torch_call, False
        for name, module in list(sys.modules.items()):
            eager = vars(module).get("eager_attention_forward") if "transformers" in name else None
            if callable(eager):
                yield eager, eager_call, True
        comfy = sys.modules.get("comfy.ldm.modules.attention")
        for name, function in list(vars(comfy).items()) if comfy else ():
            if name.startswith("attention") and callable(function):
                yield function, comfy_call, False

    def replace(self):
        """Puts others in the functions' places, wherever a module has their name."""
        for function, read, needs_result in self.known():
            if not getattr(function, "is_telling", False) and id(function) not in self.tellers:
                teller = self.telling(function, read, needs_result)
                self.tellers[id(function)] = function, teller
        for name, module in list(sys.modules.items()):
            # What torch calls inside stays; programs know the function by this name or by their own.
            if name.startswith("torch.") and name != "torch.nn.functional":
                continue
            names = getattr(module, "__dict__", None)
            registered = names.get("REGISTERED_ATTENTION_FUNCTIONS") if names else None
            for place in (names, registered):
                for key, value in list(place.items()) if isinstance(place, dict) else ():
                    function, teller = self.tellers.get(id(value), (None, None))
                    if function is not None and function is value:
                        self.replaced.append((place, key, value))
                        place[key] = teller

    def telling(self, function, read, needs_result):
        @functools.wraps(function)
        def attention(*arguments, **keywords):
            if getattr(self.inside, "is_inside", False):
                return function(*arguments, **keywords)
            self.inside.is_inside = True
            try:
                if not needs_result:
                    self.show(read, arguments, keywords)
                result = function(*arguments, **keywords)
                if needs_result:
                    self.show(read, (result, *arguments), keywords)
                return result
            finally:
                self.inside.is_inside = False

        attention.is_telling = True
        return attention

    def show(self, read, arguments, keywords):
        interested = [collector for collector in self.collectors if collector.wants_mixtures()]
        if not interested:
            return
        call = read(*arguments, **keywords)
        if call is None or call.value.dim() != 4 or not call.value.numel():
            return
        in_full = torch.autocast(call.value.device.type, enabled=False)
        with torch.inference_mode(False), torch.no_grad(), in_full:
            for collector in interested:
                collector.see_attention(call)


ATTENTIONS = Attentions()


class Shown:
    """A call of a layer that may be a value projection, until an attention tells."""

    def __init__(self, layer, x, y):
        self.layer, self.rows = layer, y.numel() // layer.rows
        # Nothing is kept alive before it is known to be of use.
        self.kept = (lambda: x) if layer.mixture else weakref.ref(x)
        self.version = version_of(x)
        count = min(self.rows, SAMPLED)
        self.places = torch.arange(count) * self.rows // count
        self.sample = y.reshape(-1, layer.rows)[self.places.to(y.device)].detach()

    def inputs(self):
        x = self.kept()
        return None if x is None or version_of(x) != self.version else x

    def columns_of(self, value, first):
        """Which of the layer's outputs [v, d] the value's heads hold from token `first` on, if they do."""
        batch, heads, tokens, width = value.shape
        if self.rows % batch or self.rows // batch + first > tokens:
            return None
        own = self.rows // batch
        places = self.places.to(value.device)
        found = value[places // own, :, places % own + first].reshape(len(places), -1)
        sample = self.sample.to(value.device, value.dtype)
        mixture = self.layer.mixture
        if mixture is not None and mixture.outputs.numel() == found.shape[1]:
            columns = mixture.outputs.to(value.device)
            if torch.equal(sample[:, columns], found):
                return columns
        if len(places) < LEAST_SAMPLED:
            return None
        keys, order = torch.sort(hashed(sample))
        wanted = hashed(found)
        place = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
        if not torch.equal(keys[place], wanted):
            return None
        columns = order[place]
        # Where outputs are alike, the ones in line are meant.
        line = torch.arange(width, device=columns.device)
        begin = (columns.view(heads, width) - line).median(1, keepdim=True).values
        straight = (begin + line).clamp(0, self.layer.rows - 1).flatten()
        return straight if torch.equal(sample[:, straight], found) else columns


def hashed(rows):
    """A number for each column; equal columns have equal ones."""
    # Negative zero becomes zero.
    bits = (rows.float() + 0.0).contiguous().view(torch.int32).long()
    generator = torch.Generator().manual_seed(1)
    factors = torch.randint(1 << 62, (len(rows), 1), generator=generator) * 2 + 1
    return (bits * factors.to(bits.device)).sum(0)


def ranges(columns):
    """Ascending [first, end) of sorted numbers."""
    result = []
    for column in columns.unique().tolist():
        if result and result[-1][1] == column:
            result[-1][1] += 1
        else:
            result.append([column, column + 1])
    return result


# Gradients


class Recompute(torch.autograd.Function):
    """A block whose insides are computed again when their gradients are asked for."""

    @staticmethod
    def forward(context, run, mutations, *tensors):
        context.run, context.mutations = run, mutations
        context.needs = [tensor.requires_grad for tensor in tensors]
        context.save_for_backward(*(tensor.detach() for tensor in tensors))
        outputs = run(tensors)
        context.mark_non_differentiable(*(y for y in outputs if not y.is_floating_point()))
        return tuple(outputs)

    @staticmethod
    def backward(context, *gradients):
        inputs = [
            tensor.detach().requires_grad_(needs)
            for tensor, needs in zip(context.saved_tensors, context.needs)
        ]
        with context.mutations(), torch.enable_grad():
            outputs = context.run(inputs)
            pairs = [
                (y, gradient)
                for y, gradient in zip(outputs, gradients)
                if y.requires_grad and gradient is not None
            ]
            if pairs:
                torch.autograd.backward(*map(list, zip(*pairs)))
        return None, None, *(tensor.grad for tensor in inputs)


class Blocks:
    """A model's repeated blocks, which are computed again in backward passes.

    Memory then holds the blocks' inputs and the inside of one block."""

    def __init__(self, collector):
        self.collector, self.is_inside = collector, False
        # Whether what a backward pass needs may be written into; that takes time.
        self.allows_mutation = False
        self.blocks = list(blocks_of(collector.model, {layer.module for layer in collector.layers}))

    @contextlib.contextmanager
    def computed_again(self):
        inside = {module for block in self.blocks for module in block.modules()}
        outside = [module for module in self.collector.model.modules() if module not in inside]
        forwards = [block.__dict__.get("forward") for block in self.blocks]
        try:
            for block in self.blocks:
                block.forward = self.recomputed(block, block.forward)
            with ordinary_weights(outside):
                yield
        finally:
            for block, forward in zip(self.blocks, forwards):
                block.__dict__.pop("forward", None)
                if forward is not None:
                    block.forward = forward

    def mutations(self):
        """What to enter around a block with its backward pass."""
        if self.allows_mutation:
            return torch.autograd.graph.allow_mutation_on_saved_tensors
        return contextlib.nullcontext

    def recomputed(self, block, forward):
        @functools.wraps(forward)
        def call(*arguments, **keywords):
            if not torch.is_grad_enabled() or self.is_inside:
                return forward(*arguments, **keywords)
            leaves, spec = tree_flatten((arguments, keywords))
            leaves = [ordinary(leaf) for leaf in leaves]
            places = [
                index
                for index, leaf in enumerate(leaves)
                if torch.is_tensor(leaf) and leaf.is_floating_point()
            ]
            if places and not any(leaves[index].requires_grad for index in places):
                leaves[places[0]] = leaves[places[0]].detach().requires_grad_()
            shape = []

            def run(tensors):
                self.is_inside = True
                # A block may write into its inputs.
                inner = list(leaves)
                for index, tensor in zip(places, tensors):
                    inner[index] = tensor.clone() if tensor.requires_grad else tensor
                is_again, self.collector.is_again = self.collector.is_again, torch.is_grad_enabled()
                try:
                    with ordinary_weights(block.modules()):
                        inner_arguments, inner_keywords = tree_unflatten(inner, spec)
                        outputs, out_spec = tree_flatten(forward(*inner_arguments, **inner_keywords))
                finally:
                    self.is_inside, self.collector.is_again = False, is_again
                if not shape:
                    shape[:] = outputs, out_spec
                return [y for y in outputs if torch.is_tensor(y)]

            tensors = iter(Recompute.apply(run, self.mutations(), *(leaves[index] for index in places)))
            outputs = [next(tensors) if torch.is_tensor(y) else y for y in shape[0]]
            result, shape[0] = tree_unflatten(outputs, shape[1]), None
            return result

        return call


def blocks_of(module, layers):
    """The outermost modules of lists that hold any of the layers."""
    for child in module.children():
        is_list = isinstance(module, (torch.nn.ModuleList, torch.nn.Sequential, torch.nn.ModuleDict))
        is_inner = isinstance(child, (torch.nn.ModuleList, torch.nn.Sequential, torch.nn.ModuleDict))
        if is_list and not is_inner and child not in layers:
            if not layers.isdisjoint(child.modules()):
                yield child
        else:
            yield from blocks_of(child, layers)


@contextlib.contextmanager
def ordinary_weights(modules):
    """Meanwhile copies are in the place of weights made in inference mode, which autograd refuses."""
    replaced = []
    try:
        for module in modules:
            for place in (module._parameters, module._buffers):
                for name, tensor in place.items():
                    if tensor is not None and tensor.is_inference():
                        replaced.append((place, name, tensor))
                        copy = tensor.detach().clone()
                        is_weight = place is module._parameters
                        place[name] = torch.nn.Parameter(copy, False) if is_weight else copy
        yield
    finally:
        for place, name, tensor in replaced:
            place[name] = tensor


def ordinary(tensor):
    return tensor.clone() if torch.is_tensor(tensor) and tensor.is_inference() else tensor


class Curvature:
    """Backward passes through the model's calls, for the gradients at layers' outputs.

    Of a model with `logits`, of -log p(y) with one y for each position drawn from the model's own p
    (`tokens`); of any other, of the sum of noise times output, noise from N(0, I) (`gaussian`). The mean
    of g g^T is then half the Hessian of what the model says: nothing needs to know what is right."""

    def __init__(self, collector, every, seed):
        self.collector, self.every = collector, max(1, every)
        self.kind, self.predictions, self.calls = None, 0, 0
        self.failure, self.skipped = None, 0
        self.blocks = Blocks(collector)
        self.seed, self.generators = seed, {}
        model = collector.model
        self.own_forward, self.forward = model.__dict__.get("forward"), model.forward
        # With the signature that programs look at.
        model.forward = functools.wraps(self.forward)(lambda *a, **k: self.call(*a, **k))

    def stop(self):
        model = self.collector.model
        del model.forward
        if self.own_forward is not None:
            model.forward = self.own_forward

    def call(self, *arguments, **keywords):
        collector = self.collector
        if collector.is_paused or collector.is_curving or self.failure:
            return self.forward(*arguments, **keywords)
        self.calls += 1
        if (self.calls - 1) % self.every:
            return self.forward(*arguments, **keywords)
        collector.is_curving = True
        try:
            with torch.inference_mode(False), torch.enable_grad():
                return self.curve(arguments, keywords)
        except (RuntimeError, NotImplementedError) as error:
            # Out of memory, or a function without a backward pass. What the model was called for goes on.
            self.give_up(str(error).splitlines()[0])
        finally:
            collector.is_curving = False
        collector.is_again = True
        try:
            return self.forward(*arguments, **keywords)
        finally:
            collector.is_again = False

    def give_up(self, problem):
        """Without gradients from now on, unless there is another way."""
        if "inplace operation" not in problem or self.blocks.allows_mutation:
            self.failure = problem
            return
        # The next call does; what this one has left behind is half of something.
        self.blocks.allows_mutation = True
        self.predictions, self.calls = 0, 0
        for layer in self.collector.layers:
            layer.gradients = None

    def curve(self, arguments, keywords):
        leaves, spec = tree_flatten((arguments, keywords))
        arguments, keywords = tree_unflatten([ordinary(leaf) for leaf in leaves], spec)
        with frozen(self.collector.model), self.blocks.computed_again():
            output = self.forward(*arguments, **keywords)
            pairs = self.judged(output)
            if pairs:
                torch.autograd.backward(*map(list, zip(*pairs)))
        return without_graph(output)

    def judged(self, output):
        """(tensor, gradient) where the backward pass begins."""
        logits = getattr(output, "logits", None)
        is_tokens = torch.is_tensor(logits) and logits.dim() >= 2 and logits.shape[-1] > 1
        kind = "tokens" if is_tokens else "gaussian"
        tensors = [logits] if is_tokens else tensors_of(output)
        tensors = [y for y in tensors if y.is_floating_point() and y.requires_grad]
        self.kind = self.kind or kind
        # An infinity or NaN anywhere shows in a sum.
        if kind != self.kind or not all(bool(y.sum().isfinite()) for y in tensors) or not tensors:
            self.skipped += 1
            return []
        make = self.drawn if is_tokens else self.noise
        return [(y, make(y.detach(), self.mask_of(y))) for y in tensors]

    def mask_of(self, y):
        """Which leading places of an output count."""
        mask = self.collector.mask
        is_masked = mask is not None and y.shape[: mask.dim()] == mask.shape
        return mask.to(y.device) if is_masked else None

    def generator(self, device):
        if device not in self.generators:
            self.generators[device] = torch.Generator(device).manual_seed(self.seed)
        return self.generators[device]

    def drawn(self, logits, mask):
        """Gradients of -log p(y) at the logits: p less one where y is."""
        rows = logits.reshape(-1, logits.shape[-1])
        result = torch.empty_like(rows)
        counts = None if mask is None else mask.flatten().float()[:, None]
        # So few at once that they stay in a cache.
        step = max(1, (1 << 20) // rows.shape[1])
        for start in range(0, len(rows), step):
            p = torch.softmax(rows[start : start + step].float(), -1)
            chance = torch.rand(len(p), 1, generator=self.generator(p.device), device=p.device)
            y = draw(p, chance)
            p.scatter_add_(1, y, torch.full_like(y, -1, dtype=p.dtype))
            result[start : start + step] = p if counts is None else p * counts[start : start + step]
        self.predictions += len(rows) if mask is None else int(mask.sum())
        return result.view(logits.shape)

    def noise(self, y, mask):
        noise = torch.randn(y.shape, generator=self.generator(y.device), device=y.device)
        count = y.numel()
        if mask is not None:
            noise *= mask[(...,) + (None,) * (y.dim() - mask.dim())]
            count = int(mask.sum()) * (y.numel() // mask.numel())
        self.predictions += count
        return noise.to(y.dtype)


def draw(p, chance):
    """One place [m, 1] of each row of probabilities, by numbers from 0 to 1: a block of places first."""
    blocks = torch.cat([part.sum(1, keepdim=True) for part in p.split(1024, 1)], 1).cumsum(1)
    chance = chance * blocks[:, -1:]
    block = torch.searchsorted(blocks, chance, right=True).clamp(max=blocks.shape[1] - 1)
    before = torch.nn.functional.pad(blocks, (1, 0)).gather(1, block)
    places = (block * 1024 + torch.arange(1024, device=p.device)).clamp(max=p.shape[1] - 1)
    inside = p.gather(1, places).cumsum(1)
    place = torch.searchsorted(inside, chance - before, right=True)
    return (block * 1024 + place.clamp(max=1023)).clamp(max=p.shape[1] - 1)


@contextlib.contextmanager
def frozen(model):
    """Meanwhile no parameter of the model wants a gradient."""
    # Those made in inference mode are replaced by copies that want none.
    wanted = [p for p in model.parameters() if p.requires_grad and not p.is_inference()]
    # A cache of keys and values would see every block twice; ComfyUI's kernels for rotation of
    # queries and keys have no backward pass.
    places = (
        (getattr(model, "config", None), "use_cache", False),
        (sys.modules.get("comfy.model_management"), "in_training", True),
    )
    before = [getattr(place, name, None) for place, name, _ in places]
    try:
        for parameter in wanted:
            parameter.requires_grad_(False)
        for (place, name, value), known in zip(places, before):
            if isinstance(known, bool):
                setattr(place, name, value)
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)
        for (place, name, _), known in zip(places, before):
            if isinstance(known, bool):
                setattr(place, name, known)


def tensors_of(output):
    """The tensors of a model's output, of whatever kind that is."""
    if torch.is_tensor(output):
        return [output]
    if isinstance(output, dict):
        return [tensor for value in output.values() for tensor in tensors_of(value)]
    if isinstance(output, (tuple, list)):
        return [tensor for value in output for tensor in tensors_of(value)]
    return []


def without_graph(output):
    if torch.is_tensor(output):
        return output.detach()
    if isinstance(output, dict):
        for name in list(output):
            output[name] = without_graph(output[name])
    elif type(output) in (tuple, list):
        return type(output)(without_graph(value) for value in output)
    return output


class Collector:
    """Watches a model's layers. Made by `collect`."""

    def __init__(self, model, options):
        self.model, self.options = model, options
        self.rank, self.most_rows, self.moments = options.rank, options.most_rows, options.moments
        self.mask = None
        self.is_paused = False
        # Inside a call with a backward pass; inside what such a pass computes once more.
        self.is_curving = self.is_again = False
        self.seconds, self.started, self.calls = 0.0, time.perf_counter(), 0
        self.stopped = None
        self.groups = []
        # Groups of one call so far, by the id of what it showed.
        self.fresh = {}
        # Latest calls of layers that may make values, by layer; attentions whose values none made.
        self.shown, self.unknown = {}, {}
        # The layer whose statistics are being written, and these, by what summed them.
        self.computed = None, {}
        resume = options.resume
        self.earlier = SideCar(resume) if resume and os.path.exists(resume) else None
        with_experts, self.other_banks, self.unnamed = experts_of(model)
        layers = watched(model, not with_experts)
        layers += [matrix for _, matrices in with_experts for matrix in matrices]
        self.layers = [Layer(options.prefix + name, module) for name, module in layers]
        self.choose_kinds()
        for layer in self.layers:
            self.check_earlier(layer)
        self.handles = []
        for layer in self.layers:
            module = layer.module
            self.handles.append(
                module.register_forward_pre_hook(self.hook_of(layer), with_kwargs=True)
            )
            self.handles.append(
                module.register_forward_hook(self.output_hook_of(layer), with_kwargs=True)
            )
        self.handles.append(model.register_forward_pre_hook(self.count_call))
        self.handles.append(model.register_forward_hook(lambda *_: self.shown.clear()))
        self.curvature = None
        if options.curvature:
            self.curvature = Curvature(self, options.every, options.seed)
            if self.earlier is not None:
                self.curvature.kind = self.earlier.curvature
        if MIXED in self.moments:
            ATTENTIONS.tell(self)
        self.experts = [
            Experts(self, module, [matrix for _, matrix in matrices]) for module, matrices in with_experts
        ]

    def choose_kinds(self):
        """Full matrices for the narrowest layers, as long as all of it stays inside the memory."""
        options = self.options
        weak = FACTOR if self.rank > 0 else DIAGONAL
        plain = weak if PLAIN in self.moments else DIAGONAL
        used = sum(sums_bytes(layer.columns, plain, self.rank) for layer in self.layers)
        for layer in self.layers:
            layer.kind = plain
            if options.curvature:
                layer.weighted_kind = weak if WEIGHTED in self.moments else DIAGONAL
                used += gradients_bytes(
                    layer, layer.weighted_kind, self.rank, options.gradient_rank
                )
        if used > options.memory:
            used -= self.narrow_experts()
        # What attention mixes is known later; it is one layer of six or so.
        self.mixed_room = options.memory // 8 if MIXED in self.moments else 0
        room = options.memory - used - self.mixed_room
        by_width = sorted(self.layers, key=lambda layer: layer.columns)
        # Where there is no room for both, rounding uses the weighted ones.
        for moments in (WEIGHTED, PLAIN):
            name = {WEIGHTED: "weighted_kind", PLAIN: "kind"}[moments]
            for layer in by_width if moments in self.moments else ():
                # Experts that found no room for less find none for more.
                if layer.gradient_rank == 0:
                    continue
                more = moment_bytes(layer.columns, FULL, 0)
                more -= moment_bytes(layer.columns, weak, self.rank)
                if moments == PLAIN:
                    more = sums_bytes(layer.columns, FULL, 0)
                    more -= sums_bytes(layer.columns, weak, self.rank)
                if layer.columns <= options.full_limit and more <= room:
                    setattr(layer, name, FULL)
                    room -= more
                    used += more
        self.most_bytes = used

    def narrow_experts(self):
        """Keeps the diagonal alone of experts, of which there are thousands; returns the bytes that saves."""
        saved = 0
        for layer in self.layers:
            if not isinstance(layer.module, Expert):
                continue
            saved += sums_bytes(layer.columns, layer.kind, self.rank) - sums_bytes(layer.columns, DIAGONAL, 0)
            layer.kind, layer.gradient_rank = DIAGONAL, 0
            if layer.weighted_kind:
                saved += gradients_bytes(layer, layer.weighted_kind, self.rank, self.options.gradient_rank)
                layer.weighted_kind = DIAGONAL
                saved -= gradients_bytes(layer, DIAGONAL, 0, 0)
        return saved

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
        known = self.earlier.kind_of(layer.name, "weighted")
        if known and layer.weighted_kind:
            layer.weighted_kind = min(layer.weighted_kind, known, key=order.index)
        if self.earlier.kind_of(layer.name, "gradient") == DIAGONAL:
            layer.gradient_rank = 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.stop()

    def stop(self):
        """Takes the hooks off; what was collected stays."""
        for handle in self.handles:
            handle.remove()
        self.handles = []
        for experts in self.experts:
            experts.leave()
        self.experts = []
        ATTENTIONS.leave(self)
        if self.stopped is None:
            self.stopped = time.perf_counter()
            if self.curvature is not None:
                self.curvature.stop()

    @contextlib.contextmanager
    def shown_tokens(self, tokens, count):
        """Meanwhile the mask is that of some of a call's `count` tokens, which an expert sees."""
        mask = self.mask
        if mask is not None and mask.numel() == count:
            self.mask = mask.flatten()[tokens.to(mask.device)]
        try:
            yield
        finally:
            self.mask = mask

    def count_call(self, *_):
        if not self.is_paused:
            self.calls += 1
            self.shown.clear()

    def hook_of(self, layer):
        def hook(_module, arguments, keywords):
            if self.is_paused:
                return None
            begin = time.perf_counter()
            x = arguments[0] if arguments else keywords.get("input", keywords.get("x"))
            is_shown = torch.is_tensor(x) and x.is_floating_point() and x.numel()
            if is_shown and not self.is_again:
                # Sums outlive inference mode, and must not be taken in F16.
                in_full = torch.autocast(x.device.type, enabled=False)
                with torch.inference_mode(False), torch.no_grad(), in_full:
                    self.see(layer, x)
            self.seconds += time.perf_counter() - begin
            if is_shown and self.wants_gradients() and not x.requires_grad and arguments:
                # Nothing before it wants a gradient: the backward pass ends here.
                return (ordinary(x).detach().requires_grad_(), *arguments[1:]), keywords
            return None

        return hook

    def output_hook_of(self, layer):
        def hook(_module, arguments, keywords, y):
            if self.is_paused or not torch.is_tensor(y) or not y.numel():
                return
            x = arguments[0] if arguments else keywords.get("input", keywords.get("x"))
            if not self.is_again and self.may_make_values(layer):
                with torch.inference_mode(False), torch.no_grad():
                    self.shown.pop(layer, None)
                    self.shown[layer] = Shown(layer, x, y)
            if self.wants_gradients() and y.requires_grad:
                x, version, mask = x.detach(), version_of(x), self.mask
                y.register_hook(lambda g: self.see_gradient(layer, x, version, mask, g))

        return hook

    def wants_gradients(self):
        return self.is_curving and torch.is_grad_enabled()

    def wants_mixtures(self):
        return MIXED in self.moments and not self.is_paused and not self.is_again

    def may_make_values(self, layer):
        is_open = layer.mixture is not None or layer.tries < TRIES
        return MIXED in self.moments and layer.is_linear and is_open

    def see_gradient(self, layer, x, version, mask, g):
        begin = time.perf_counter()
        in_full = torch.autocast(g.device.type, enabled=False)
        with torch.no_grad(), in_full:
            if layer.gradients is None:
                layer.gradients = self.begun_gradients(layer, g.device)
            if version_of(x) != version:
                # Somebody has written into what the layer saw.
                g = g * math.nan
            layer.gradients.add(layer.inputs(x, mask, None), layer.outputs(g, mask))
        self.seconds += time.perf_counter() - begin

    def begun_gradients(self, layer, device):
        rank = self.options.gradient_rank if layer.gradient_rank is None else layer.gradient_rank
        gradients = Gradients(layer, self.rank, rank, device)
        if self.earlier is not None and layer.name in self.earlier.layers:
            values = self.earlier.gradients(layer.name)
            if values is not None:
                gradients.begin(**values)
        return gradients

    def see_attention(self, call):
        begin = time.perf_counter()
        found = self.sources_of(call)
        if found is None and self.shown and not any(layer.mixture for layer in self.shown):
            self.unknown[next(reversed(self.shown)).name] = None
        for shown, first, columns in found or ():
            self.unknown.pop(shown.layer.name, None)
            self.mix(call, shown, first, columns)
        for layer in self.shown:
            layer.tries += layer.mixture is None
        self.seconds += time.perf_counter() - begin

    def sources_of(self, call):
        """The layers' calls whose outputs follow one another in the values: (call, first token, outputs)."""
        result, first = [], 0
        tokens = call.value.shape[2]
        while first < tokens:
            for shown in reversed(self.shown.values()):
                if any(shown is other for other, _, _ in result):
                    continue
                columns = shown.columns_of(call.value, first)
                if columns is not None:
                    result.append((shown, first, columns))
                    first += shown.rows // len(call.value)
                    break
            else:
                return None
        return result

    def mix(self, call, shown, first, outputs):
        layer, x = shown.layer, shown.inputs()
        del self.shown[layer]
        if layer.mixture is None:
            layer.mixture = self.begun_mixture(layer, outputs, call.value.device)
        batch, tokens = len(call.value), shown.rows // len(call.value)
        if x is None or not torch.isfinite(x).all():
            return
        x = x.detach().reshape(batch, tokens, -1)
        count = call.query.shape[2]
        for index in range(batch):
            queries = torch.arange(count, device=x.device)
            if self.mask is not None and self.mask.shape == (batch, count):
                queries = queries[self.mask[index].to(x.device)]
            if self.most_rows is not None:
                queries = queries[spaced(len(queries), max(1, self.most_rows // batch), x.device)]
            if len(queries):
                place = slice(first, first + tokens)
                layer.mixture.add(x[index], call, index, place, queries)

    def begun_mixture(self, layer, outputs, device):
        kind = FACTOR if self.rank > 0 else DIAGONAL
        more = moment_bytes(layer.columns, FULL, 0)
        if layer.columns <= self.options.full_limit and more <= self.mixed_room:
            kind = FULL
        earlier = self.earlier if self.earlier and layer.name in self.earlier.layers else None
        known = earlier.kind_of(layer.name, "mixed") if earlier else None
        if known:
            kind = min(kind, known, key=[DIAGONAL, FACTOR, FULL].index)
        self.mixed_room -= moment_bytes(layer.columns, kind, self.rank)
        mixture = Mixture(layer, outputs, kind, self.rank, device)
        if known:
            mixture.begin(**earlier.moment(layer.name, "mixed"))
        return mixture

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
        has_gradients = any(name.endswith(".gradient_count") for name in entries)
        kind = self.curvature.kind if self.curvature else self.earlier and self.earlier.curvature
        try:
            write_side_car(
                path, shapes, entries, samples, self.earlier, kind if has_gradients else None
            )
        finally:
            self.computed = None, {}
        print(self.report(path, made), file=sys.stderr)

    def entries(self, layer):
        """Name: (dtype, shape, function that gives the bytes) of a layer's tensors."""
        n, group = layer.columns, layer.group
        shapes = {"mean": [n], "second_moment": [n]}
        if layer.kind == FULL:
            shapes["covariance"] = [n, n]
        elif layer.kind == FACTOR:
            shapes["factor"] = [n, min(self.rank, n)]
        if group.sums.largest is not None:
            shapes["largest"] = [1]
        entries = {f"{layer.name}.count": integers([1], [group.sums.count])}
        self.add_parts(entries, layer, group.sums, shapes)
        earlier = self.earlier if self.earlier and layer.name in self.earlier.layers else None
        if layer.mixture is not None and layer.mixture.is_usable():
            self.add_mixture(entries, layer)
        elif earlier is not None:
            entries.update(earlier.entries(layer.name, "mixed_"))
        if layer.gradients is not None and self.has_gradients(layer):
            self.add_gradients(entries, layer)
        elif earlier is not None:
            for prefix in ("gradient_", "weighted_"):
                entries.update(earlier.entries(layer.name, prefix))
        return entries

    def has_gradients(self, layer):
        curvature = self.curvature
        is_counted = curvature.predictions > 0 and curvature.failure is None
        return is_counted and layer.gradients is not None and layer.gradients.is_usable()

    def add_mixture(self, entries, layer):
        mixture = layer.mixture
        entries[f"{layer.name}.mixed_count"] = integers([1], [mixture.count])
        if mixture.rows:
            listed = [place for line in mixture.rows for place in line]
            entries[f"{layer.name}.mixed_rows"] = integers([len(mixture.rows), 2], listed)
        self.add_parts(entries, layer, mixture, moment_shapes("mixed", mixture.moment))

    def add_gradients(self, entries, layer):
        gradients = layer.gradients
        count = gradients.begun + self.curvature.predictions
        entries[f"{layer.name}.gradient_count"] = integers([1], [count])
        shapes = {"gradient_mean_square": [1]}
        if WEIGHTED in self.moments:
            shapes.update(moment_shapes("weighted", gradients.weighted))
        if gradients.outputs.columns == layer.rows:
            shapes.update(moment_shapes("gradient", gradients.outputs))
        self.add_parts(entries, layer, gradients, shapes)

    def add_parts(self, entries, layer, sums, shapes):
        for part, shape in shapes.items():
            give = functools.partial(self.part, layer, sums, part)
            entries[f"{layer.name}.{part}"] = "F32", shape, give

    def part(self, layer, sums, name):
        """Bytes of one tensor. A layer's parts are asked for one after the other: one layer's are held."""
        if self.computed[0] is not layer:
            # The next layer may share the sums of inputs.
            kept = {key: value for key, value in self.computed[1].items() if key is sums}
            self.computed = layer, kept
        if sums not in self.computed[1]:
            is_gradients = isinstance(sums, Gradients)
            predictions = [self.curvature.predictions] if is_gradients else []
            self.computed[1][sums] = sums.statistics(*predictions)
        return as_bytes(self.computed[1][sums][name])

    def memory_bytes(self):
        """What the sums take now."""
        own = [sums for layer in self.layers for sums in (layer.mixture, layer.gradients) if sums]
        return sum(sums.memory_bytes() for sums in [group.sums for group in self.groups] + own)

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
            f"{path}: {amount(len(made), 'layer')} ({kinds.count(FULL)} full, {kinds.count(FACTOR)} of rank "
            f"{self.rank}, {kinds.count(DIAGONAL)} diagonal), "
            f"{between(counts)} each, {amount(self.calls, 'call')} of the model",
            f"collecting took {seconds:.1f} of {wall:.1f} s ({share}) and "
            f"{self.memory_bytes() / 2**20:.0f} MiB",
        ]
        few = [layer for layer in made.values() if layer.group.sums.count < layer.columns]
        if few:
            lines.append(f"fewer samples than columns: go on collecting for {amount(len(few), 'layer')}")
        unseen = len(self.layers) - len(made)
        if unseen:
            lines.append(f"never called, and left out: {amount(unseen, 'layer')}")
        if self.other_banks:
            because = "do not lie one by one in the file"
            if self.unnamed is not None:
                because = f"transformers gives no names ({self.unnamed})"
            lines.append(f"left out: {amount(len(self.other_banks), 'module')} with experts that {because}")
        ignored = sum(group.sums.ignored for group in self.groups)
        if ignored:
            lines.append(f"not counted, for infinities or NaN: {amount(ignored, 'input')}")
        if MIXED in self.moments:
            lines.extend(self.report_mixtures())
        if self.curvature is not None:
            lines.extend(self.report_gradients(made.values()))
        return "\n".join(lines)

    def report_mixtures(self):
        mixed = [layer for layer in self.layers if layer.mixture is not None]
        usable = [layer for layer in mixed if layer.mixture.is_usable()]
        if usable:
            yield f"with inputs as attention mixes them, for they make values: {amount(len(usable), 'layer')}"
        broken = [layer.name for layer in mixed if layer not in usable]
        if broken:
            yield f"what attention mixes was never seen whole: {listed(broken)}"
        if self.unknown:
            yield (
                "attentions whose values no layer made as they are, after: "
                f"{listed(list(self.unknown))}; the layers before have plain statistics"
            )

    def report_gradients(self, layers):
        curvature = self.curvature
        if curvature.failure is not None:
            yield f"no gradients, plain statistics only: {curvature.failure}"
            return
        what = {"tokens": "predicted tokens", "gaussian": "output elements"}.get(curvature.kind)
        usable = [layer for layer in layers if self.has_gradients(layer)]
        yield f"gradients of {amount(len(usable), 'layer')}, of {curvature.predictions} {what or 'outputs'}"
        without = [layer.name for layer in layers if not self.has_gradients(layer)]
        if without:
            yield (
                f"{amount(len(without), 'layer')} with plain statistics, for gradients that are zero or no "
                f"numbers: {listed(without)}"
            )
        if curvature.skipped:
            yield f"skipped, for infinities, NaN or another kind: {amount(curvature.skipped, 'output')}"


def amount(count, what):
    return f"{count} {what}" + ("" if count == 1 else "s")


def between(counts):
    least, most = min(counts, default=0), max(counts, default=0)
    return amount(most, "sample") if least == most else f"{least} to {most} samples"


def listed(names):
    """The first few."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def integers(shape, values):
    return "I64", shape, lambda: struct.pack(f"<{len(values)}q", *values)


def moment_shapes(prefix, moment):
    """Parts of `Moment.parts` with their shapes."""
    n = moment.columns
    shapes = {f"{prefix}_second_moment": [n]}
    if moment.kind == FULL:
        shapes[f"{prefix}_moment"] = [n, n]
    elif moment.kind == FACTOR:
        shapes[f"{prefix}_factor"] = [n, moment.rank]
    return shapes


def watched(model, is_required):
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
    if is_required and not layers:
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
    curvature=False,
    moments=None,
    every=1,
    gradient_rank=GRADIENT_RANK,
    seed=0,
):
    """Watches a `torch.nn.Module` until `stop`, or as long as a `with` block lasts.

    full_limit: most columns of a layer that gets its whole covariance
    rank: directions of wider layers; 0 keeps the diagonal only
    memory: bytes that all sums together may take; layers that find no room get `rank` directions, experts the
        diagonal
    most_rows: of each call of a layer, at most so many inputs, evenly spaced
    prefix: stands before the modules' names in the weight file
    resume: a side-car to go on from, if it exists
    curvature: with a backward pass through the model's calls, for the gradients at layers' outputs
    moments: which second moments are summed, of PLAIN, MIXED and WEIGHTED [default: all that can be]
    every: of the model's calls, every so many-th one has a backward pass
    gradient_rank: directions of gradients' second moment; 0 keeps the diagonal only
    seed: of what backward passes draw

    While it runs, `mask` [batch, tokens] (bool) may say which tokens of a call count."""
    if isinstance(moments, str):
        moments = (moments,)
    if moments is None:
        moments = (PLAIN, MIXED, WEIGHTED) if curvature else (PLAIN, MIXED)
    if unknown := set(moments) - {PLAIN, MIXED, WEIGHTED}:
        raise ValueError(f"no second moments have the name {', '.join(sorted(unknown))}")
    if WEIGHTED in moments and not curvature:
        raise ValueError("weighted second moments need the backward passes of `curvature`")
    options = argparse.Namespace(**locals())
    return Collector(model, options)


class SideCar:
    """A side-car that is there: `layers` by name, [rows, columns]."""

    def __init__(self, path):
        self.path, self.file = path, open(path, "rb")
        length = struct.unpack("<Q", self.file.read(8))[0]
        if length > 100_000_000:
            raise ValueError(f"{path}: is not a safetensors file")
        header = json.loads(self.file.read(length))
        metadata = header.pop("__metadata__", {})
        if metadata.get("format") != FORMAT or metadata.get("version") not in VERSIONS:
            raise ValueError(f"{path}: does not hold statistics of version {' or '.join(VERSIONS)}")
        if fingerprint(metadata["layers"]) != metadata["fingerprint"]:
            raise ValueError(f"{path}: the fingerprint is not that of its layers")
        self.header, self.start, self.layers = header, 8 + length, {}
        self.curvature = metadata.get("curvature")
        for line in metadata["layers"].splitlines():
            name, rows, columns = line.rsplit(" ", 2)
            self.layers[name] = [int(rows), int(columns)]

    def kind(self, name):
        if f"{name}.mean" not in self.header:
            raise ValueError(f"{self.path}: layer `{name}` has no mean; collect into a new file")
        if f"{name}.covariance" in self.header:
            return FULL
        return FACTOR if f"{name}.factor" in self.header else DIAGONAL

    def kind_of(self, name, prefix):
        """Of mixed or weighted moments; None where there are none."""
        if f"{name}.{prefix}_second_moment" not in self.header:
            return None
        if f"{name}.{prefix}_moment" in self.header:
            return FULL
        return FACTOR if f"{name}.{prefix}_factor" in self.header else DIAGONAL

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

    def integer(self, name):
        return struct.unpack("<q", self.read(name))[0]

    def parts(self, name, prefix, parts):
        """Those of the named tensors that are there, F64."""
        result = {}
        for part in parts:
            entry = self.header.get(f"{name}.{prefix}{part}")
            if entry is not None:
                data = bytearray(self.read(f"{name}.{prefix}{part}"))
                values = torch.frombuffer(data, dtype=torch.float32)
                result[part] = values.reshape(entry["shape"]).double()
        return result

    def values(self, name):
        """Arguments of `Sums.begin`."""
        parts = ("mean", "second_moment", "factor", "covariance", "largest")
        return {"count": self.integer(f"{name}.count"), **self.parts(name, "", parts)}

    def moment(self, name, prefix):
        """Arguments of `Mixture.begin`."""
        parts = self.parts(name, f"{prefix}_", ("second_moment", "factor", "moment"))
        return {"count": self.integer(f"{name}.{prefix}_count"), **parts}

    def gradients(self, name):
        """Arguments of `Gradients.begin`."""
        if f"{name}.gradient_count" not in self.header:
            return None
        parts = ("second_moment", "factor", "moment")
        return {
            "count": self.integer(f"{name}.gradient_count"),
            "mean_square": self.parts(name, "gradient_", ("mean_square",))["mean_square"],
            "weighted": self.parts(name, "weighted_", parts) or None,
            "outputs": self.parts(name, "gradient_", parts) or None,
        }

    def entries(self, name, prefix=""):
        """The layer's tensors as they are, for another file; of those with a prefix, if one is given."""
        return {
            key: (entry["dtype"], entry["shape"], lambda key=key: self.read(key))
            for key, entry in self.header.items()
            if key.rpartition(".")[0] == name and key.rpartition(".")[2].startswith(prefix)
        }


def fingerprint(text):
    """Hash of the lines `module rows columns`, sorted by module, each ended by a line feed."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def as_bytes(tensor):
    """The tensor's memory as it is, valid while the tensor is; torch may come without numpy."""
    assert tensor.is_contiguous() and tensor.device.type == "cpu"
    size = tensor.numel() * tensor.element_size()
    return (ctypes.c_char * size).from_address(tensor.data_ptr())


def write_side_car(path, shapes, entries, samples, earlier, curvature=None):
    """Writes a safetensors file beside `path` and renames it; `earlier` may be what it replaces."""
    prefixes = ("largest", "mixed_", "weighted_", "gradient_")
    has_more = any(name.rpartition(".")[2].startswith(prefixes) for name in entries)
    names = sorted(shapes, key=str.encode)
    listed = "".join(f"{name} {shapes[name][0]} {shapes[name][1]}\n" for name in names)
    header = {
        "__metadata__": {
            "fingerprint": fingerprint(listed),
            "format": FORMAT,
            "layers": listed,
            "samples": str(samples),
            "tool": TOOL,
            "version": VERSIONS[has_more],
        }
    }
    if curvature is not None:
        header["__metadata__"]["curvature"] = curvature
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
    DESCRIPTION = (
        "Collects statistics of layer inputs while images are generated. Generate some twenty images of the "
        "kind you usually make, then convert with the saved file."
    )

    # What the choice of detail means to `collect`. The sums are where the model computes.
    DETAILS = {
        "small file, 2 GiB": {"full_limit": 0, "memory": 2 << 30},
        "large file, 8 GiB": {"full_limit": FULL_LIMIT, "memory": 8 << 30},
    }
    # Of the sampler's steps, every so many-th one has a backward pass.
    EVERY = 10

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": ("MODEL", {"tooltip": "The model as it is before it is converted."}),
                "detail": (
                    list(cls.DETAILS),
                    {
                        "tooltip": "How much is kept of each layer, and the memory of the card that it may "
                        "take while images are generated. More rounds better."
                    },
                ),
                "measure_effect": (
                    "BOOLEAN",
                    {
                        "default": False,
                        "tooltip": "Also measures how much each layer changes the image: rounds better, and "
                        "tells what a smaller file will lose. Every tenth step takes three times as long.",
                    },
                ),
            },
            "optional": {
                "clip": ("CLIP", {"tooltip": "The text encoder, if it is to be converted as well."})
            },
        }

    def attach(self, model, detail, measure_effect, clip=None):
        options = {"most_rows": 1024, **self.DETAILS[detail]}
        effect = {"curvature": True, "every": self.EVERY} if measure_effect else {}
        attach("", model.model.diffusion_model, **options, **effect)
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
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn: own text, labels")
    parser.add_argument("--full-limit", type=int, default=FULL_LIMIT)
    parser.add_argument("--rank", type=int, default=RANK)
    parser.add_argument("--memory", type=float, default=MEMORY_LIMIT / 2**30, help="GiB for sums")
    parser.add_argument(
        "--curvature",
        action="store_true",
        help="with a backward pass for each text: which layers and inputs count how much",
    )
    parser.add_argument(
        "--moments",
        type=lambda names: tuple(names.split(",")),
        help="what is summed, of plain,mixed,weighted [default: all; weighted needs --curvature]",
    )
    parser.add_argument(
        "--gradient-rank",
        type=int,
        default=GRADIENT_RANK,
        help=f"directions of the outputs' side, 0 for its diagonal [default: {GRADIENT_RANK}]",
    )
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
        curvature=options.curvature,
        moments=options.moments,
        gradient_rank=options.gradient_rank,
        seed=options.seed,
    ) as collector:
        print(f"sums take at most {collector.most_bytes / 2**20:.0f} MiB", file=sys.stderr)
        batches = own_texts if options.self else read_texts
        keywords = {} if options.curvature else without_predictions(model, collector)
        for tokens, mask in batches(transformers, model, tokenizer, options, collector):
            # Padding is no input that the model will see.
            collector.mask = mask.bool()
            model(input_ids=tokens, attention_mask=mask, **keywords)
    collector.save(options.output)


def without_predictions(model, collector):
    """Arguments with which a model predicts no more than the last token, where nothing looks at predictions:
    over a large vocabulary they take longer than all of a small model's blocks."""
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    is_watched = any(layer.module is head for layer in collector.layers)
    can_do_without = "logits_to_keep" in inspect.signature(model.forward).parameters
    return {"logits_to_keep": 1} if can_do_without and not is_watched else {}


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
