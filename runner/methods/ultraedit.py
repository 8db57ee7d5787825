"""UltraEdit: one linear system per turn writes edits into MLP weights, from hidden states and gradients that are
normalised over everything edited so far (Gu et al., arXiv 2505.14679)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from runner.errors import UserError
from runner.methods.base import Hparams, WeightMethod
from runner.methods.layers import LAYERS_HELP, LayersChoice, choose_layers
from runner.methods.mend_net import Linear, gradient_factors
from runner.methods.registry import register
from runner.methods.supervised import edit_pair, predict
from runner.models.lm import LanguageModel, Pair
from runner.types import Edit

DEPTHS = (0.75, 0.95)  # relative depths of the published layers for Phi-4 (30 to 38 of 40)
EPSILON = torch.finfo(torch.float32).eps


class UltraEditHparams(Hparams):
    """Hyperparameters of UltraEdit; the published ones are the same for all models but for the edited maps."""

    layers: LayersChoice = Field(None, description=LAYERS_HELP)
    modules: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="full names of linear maps to edit, such as model.layers.11.mlp.gate_proj; None: the layers' "
        "down-projections",
    )
    lr: float | None = Field(
        None, gt=0, description="scale of what is added; None: the model's configuration, else 1e-6"
    )
    ridge: float = Field(1.0, gt=0, description="added to the diagonal of H^T H: the larger, the smaller the change")
    batch_size: int = Field(10, ge=1, description="edits whose gradient is taken together; one call is one turn")


class Lifelong:
    """Running mean and standard deviation of rows, [rows, width], over all turns.

    As in the reference, n rows count with n times their own variance (n - 1), and the total is divided by one less than
    the number of all rows. Mended: a row that comes alone has no spread of its own (the reference takes 0 / 0, and is
    not a number ever after), and until a second row comes a row is measured against 0, by its own size.
    """

    def __init__(self, width: int, device: torch.device) -> None:
        self.count = 0
        self.mean = torch.zeros(width, device=device)
        self.spread = torch.zeros(width, device=device)

    def update(self, rows: Tensor) -> None:
        """Take rows in."""
        n = len(rows)
        total = self.count + n
        delta = rows.mean(0) - self.mean
        self.mean += n * delta / total
        if n > 1:
            self.spread += n * rows.var(0)
        self.spread += self.count * n * delta**2 / total
        self.count = total

    def normalise(self, rows: Tensor) -> Tensor:
        """The rows in standard deviations from the mean."""
        if self.count < 2:
            return rows / (rows.abs() + EPSILON)
        return (rows - self.mean) / ((self.spread / (self.count - 1 + EPSILON)).sqrt() + EPSILON)


@register
class UltraEdit(WeightMethod):
    """Changes MLP down-projections by one closed-form solution per turn, from one pass and one gradient per edit.

    A row is one token that predicts a token of a target: the map's input h and the loss's gradient g with respect to
    its output, normalised to h' and g' over all rows so far of all maps of one shape. The map W, [out, in], gets the
    least-squares solution for W h = v with the ridge 1, where v = -lr |h'|^2 g':  V^T (H H^T + 1)^-1 H. All maps of a
    turn come from the same model. `edit` with several edits is one turn.
    """

    name: ClassVar[str] = "UltraEdit"
    family: ClassVar[str] = "closed form"
    paper: ClassVar[str] = "2505.14679"
    fidelity: ClassVar[str] = (
        "as published; mended where a gradient has one target token alone: the reference's normalisation is then not a "
        "number, here the token adds no spread of its own, and if it is the first it is normalised by its own size"
    )
    Hparams: ClassVar[type[UltraEditHparams]] = UltraEditHparams
    published: ClassVar[Mapping[str, Any]] = {"lr": 1e-6}
    sample_hparams: ClassVar[Mapping[str, Any]] = {"lr": 0.03, "layers": [1, 2]}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lifelong: dict[tuple[int, int], Lifelong] = {}

    @property
    def layers(self) -> list[int]:
        """The layers whose down-projections are edited where no maps are named."""
        return choose_layers(self.lm, self.hparams.layers, DEPTHS, self.name)

    def resolved_hparams(self) -> dict[str, Any]:
        """The hyperparameters with the layers' numbers."""
        return {**super().resolved_hparams(), **({} if self.hparams.modules else {"layers": self.layers})}

    def maps(self) -> list[Linear]:
        """The linear maps that are edited. Raises UserError for a name the model doesn't have."""
        if not self.hparams.modules:
            chosen = [self.lm.structure.mlp_out(layer) for layer in self.layers]
            return [Linear(part.name, part.module, part.transposed) for part in chosen]
        listed, found = dict(self.lm.model.named_modules()), []
        for name in self.hparams.modules:
            module = listed.get(name)
            weight = getattr(module, "weight", None)
            if module is None or not isinstance(weight, Tensor) or weight.dim() != 2:
                example = self.lm.structure.mlp_weight(0).removesuffix(".weight")
                raise UserError(f"UltraEdit, modules: the model has no linear map '{name}'; one is '{example}'.")
            found.append(Linear(f"{name}.weight", module, not isinstance(module, nn.Linear)))
        return found

    def edit(self, edits: Sequence[Edit]) -> None:
        """Apply edits together: one turn on top of those before."""
        if not edits:
            return
        maps = self.maps()
        rows = self.rows(maps, [edit_pair(self.lm, self.protocol, edit) for edit in edits])
        with torch.no_grad():
            for linear, (states, gradients) in zip(maps, rows, strict=True):
                change = self.update(linear.shape, states, gradients)
                weight = self.touch(linear.name)
                weight.add_((change.T if linear.transposed else change).to(weight))
        super().edit(edits)

    def rows(self, maps: Sequence[Linear], pairs: Sequence[Pair]) -> list[tuple[Tensor, Tensor]]:
        """Each map's rows of this turn, h [rows, in] and g [rows, out], counted in by the normalisation."""
        seen: list[list[tuple[Tensor, Tensor]]] = [[] for _ in maps]
        ordered = sorted(pairs, key=lambda pair: -len(pair.ids))
        for start in range(0, len(ordered), self.hparams.batch_size):
            batch = ordered[start : start + self.hparams.batch_size]
            inside = _predicting(batch).to(self.lm.device)
            factors = gradient_factors(self.lm, maps, lambda batch=batch: token_loss(self.lm, batch))  # type: ignore[misc]
            for place, (linear, factor) in enumerate(zip(maps, factors, strict=True)):
                states, gradients = (part[inside] for part in factor)
                seen[place].append((states, gradients))
                self.lifelong(linear.shape).update(torch.cat([states, gradients], -1))
        return [(torch.cat([h for h, _ in parts]), torch.cat([g for _, g in parts])) for parts in seen]

    def lifelong(self, shape: tuple[int, int]) -> Lifelong:
        """The normalisation that all maps of a shape (inputs, outputs) share."""
        if shape not in self._lifelong:
            self._lifelong[shape] = Lifelong(sum(shape), self.lm.device)
        return self._lifelong[shape]

    def update(self, shape: tuple[int, int], states: Tensor, gradients: Tensor) -> Tensor:
        """What is added to a map, [out, in]."""
        normal = self.lifelong(shape).normalise(torch.cat([states, gradients], -1))
        h, g = normal.split(list(shape), -1)
        values = -self.hparams.lr * (h * h).sum(-1, keepdim=True) * g
        # (H^T H + r I)^-1 H^T = H^T (H H^T + r I)^-1: the smaller of the two systems.
        keys = states.double()
        if len(keys) <= shape[0]:
            inner = keys @ keys.T
            inner.diagonal().add_(self.hparams.ridge)
            spread = torch.linalg.solve(inner, keys)
        else:
            inner = keys.T @ keys
            inner.diagonal().add_(self.hparams.ridge)
            spread = torch.linalg.solve(inner, keys.T).T
        return (values.double().T @ spread).float()

    def undo(self) -> None:
        """Put back the weights and forget what the normalisation has seen."""
        super().undo()
        self._lifelong.clear()


def token_loss(lm: LanguageModel, pairs: Sequence[Pair]) -> Tensor:
    """Mean cross-entropy, in nats, over all target tokens of the rows together, with its gradient."""
    done = predict(lm, pairs)
    losses = nn.functional.cross_entropy(done.logits.flatten(0, 1), done.tokens.flatten(), reduction="none")
    return (losses.view_as(done.inside) * done.inside).sum() / done.inside.sum()


def _predicting(pairs: Sequence[Pair]) -> Tensor:
    """Which positions of the padded rows `predict` runs, row after row, predict a target's token; bool."""
    width = max(len(pair.ids) for pair in pairs) - 1
    return torch.tensor([pair.start - 1 <= place < len(pair.ids) - 1 for pair in pairs for place in range(width)])
