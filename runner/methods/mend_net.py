"""MEND's editor networks turn an edit's gradient, layer by layer, into the change that is made (arXiv 2110.11309).

The gradient of a linear map's weight is a sum over tokens of outer products: the map's input x and the loss's gradient
with respect to its output, delta. The editor maps each pair (x, delta) to another pair, so that its size depends on the
width of the layers and not on the number of their weights (section 3.1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from runner.methods.hooks import hooked
from runner.models.lm import LanguageModel
from runner.models.sharding import check_one_device
from runner.models.structure import Structure

EPSILON = 1e-7


class Linear(NamedTuple):
    """A linear map whose weight is edited; transposed: stored [in, out]."""

    name: str
    module: nn.Module
    transposed: bool

    @property
    def shape(self) -> tuple[int, int]:
        """Inputs, outputs."""
        rows, columns = self.module.weight.shape  # type: ignore[union-attr, misc]
        return (int(rows), int(columns)) if self.transposed else (int(columns), int(rows))


def mlp_maps(structure: Structure, model: nn.Module, layers: Sequence[int]) -> list[Linear]:
    """The linear maps of the MLPs of the layers: those that stand beside the down-projection."""
    found = []
    for layer in layers:
        projection = structure.mlp_out(layer)
        parent = projection.module_name.rpartition(".")[0]
        for name, module in model.get_submodule(parent).named_children():
            if isinstance(getattr(module, "weight", None), Tensor) and module.weight.dim() == 2:  # type: ignore[union-attr, operator]
                found.append(Linear(f"{parent}.{name}.weight", module, projection.transposed))
    return found


class LowRankLayer(nn.Module):
    """x + relu(s * (U V x + b) + o): identity at first; s and o are the edited weight's own (section 3.2)."""

    def __init__(self, width: int, rank: int, modes: int) -> None:
        super().__init__()
        self.u = nn.Parameter(torch.zeros(width, min(rank, width)))
        self.v = nn.Parameter(torch.randn(min(rank, width), width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.scale = nn.Parameter(torch.ones(modes, width))
        self.offset = nn.Parameter(torch.zeros(modes, width))

    def forward(self, x: Tensor, mode: int) -> Tensor:
        """x: [tokens, width]."""
        inner = (x @ self.v.T) @ self.u.T + self.bias
        # Not relu: its gradient at 0, where training begins, is 0.
        return x + (inner * self.scale[mode] + self.offset[mode]).clamp(min=0)


class ShapeEditor(nn.Module):
    """The editor of all edited weights of one shape, with running moments of what it reads."""

    mean: Tensor
    squares: Tensor
    count: Tensor

    def __init__(self, inputs: int, outputs: int, modes: int, rank: int, hidden: int) -> None:
        super().__init__()
        self.inputs = inputs
        width = inputs + outputs
        self.layers = nn.ModuleList(LowRankLayer(width, rank, modes) for _ in range(hidden + 1))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("squares", torch.zeros(width))
        self.register_buffer("count", torch.zeros(()))

    @torch.no_grad()
    def observe(self, pairs: Tensor) -> None:
        """Take pairs, [tokens, width], into the running mean and the sum of squared distances from it."""
        n = len(pairs)
        mean = pairs.mean(0)
        total = self.count + n
        self.squares += ((pairs - mean) ** 2).sum(0) + (mean - self.mean) ** 2 * self.count * n / total
        self.mean += (mean - self.mean) * n / total
        self.count.copy_(total)

    def forward(self, x: Tensor, delta: Tensor, mode: int) -> tuple[Tensor, Tensor]:
        """x: [tokens, in] and delta: [tokens, out] -> the same shapes. Only tokens that carry a gradient count."""
        carries = (x != 0).any(-1) & (delta != 0).any(-1)
        pairs = torch.cat([x[carries], delta[carries]], -1).float()
        if self.training and len(pairs):
            self.observe(pairs)
        if self.count > 1:
            pairs = (pairs - self.mean) / ((self.squares / (self.count - 1)).sqrt() + EPSILON)
        for layer in self.layers:
            pairs = layer(pairs, mode)
        return pairs[:, : self.inputs], pairs[:, self.inputs :]


class Editor(nn.Module):
    """Editors by shape, and a learning rate for each edited weight."""

    def __init__(self, maps: Sequence[Linear], rank: int, hidden: int, edit_lr: float) -> None:
        super().__init__()
        names: dict[tuple[int, int], list[str]] = {}
        for linear in maps:
            names.setdefault(linear.shape, []).append(linear.name)
        self.modes = {
            name: (f"{shape[0]}x{shape[1]}", i) for shape, group in names.items() for i, name in enumerate(group)
        }
        self.editors = nn.ModuleDict(
            {f"{shape[0]}x{shape[1]}": ShapeEditor(*shape, len(group), rank, hidden) for shape, group in names.items()}
        )
        self.rates = nn.Parameter(torch.full((len(maps),), edit_lr))

    def changes(self, maps: Sequence[Linear], factors: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """What is added to each weight, as the weight is stored, for the factors of an edit's gradient."""
        made = []
        for linear, (x, delta), rate in zip(maps, factors, self.rates, strict=True):
            shape, mode = self.modes[linear.name]
            x, delta = self.editors[shape](x, delta, mode)
            made.append(-rate * (x.T @ delta if linear.transposed else delta.T @ x))
        return made


def gradient_factors(
    lm: LanguageModel, maps: Sequence[Linear], loss: Callable[[], Tensor]
) -> list[tuple[Tensor, Tensor]]:
    """x, [tokens, in], and delta, [tokens, out], of each map for the loss on the present weights."""
    check_one_device(lm.model)
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            seen[name] = (args[0], output)

        return hook

    weights = [lm.model.get_parameter(linear.name) for linear in maps]
    with ExitStack() as stack, torch.enable_grad():
        for linear in maps:
            stack.enter_context(hooked(linear.module, keep(linear.name)))
        for weight in weights:
            weight.requires_grad_(True)
            stack.callback(weight.requires_grad_, False)
        value = loss()
        gradients = torch.autograd.grad(value, [seen[linear.name][1] for linear in maps])
    return [
        (seen[linear.name][0].detach().flatten(0, -2).float(), gradient.flatten(0, -2).float())
        for linear, gradient in zip(maps, gradients, strict=True)
    ]
