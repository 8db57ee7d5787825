"""MEMIT: a batch of facts is spread over several MLPs by regularised least squares (Meng et al., arXiv 2210.07229)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from runner.errors import UserError
from runner.methods.hooks import at_subject
from runner.methods.layers import LAYERS_HELP, LayersChoice, choose_layers
from runner.methods.locate_then_edit import LocateHparams, LocateThenEdit
from runner.methods.moments import Moment
from runner.methods.registry import register
from runner.methods.subject import Fact, Row, locate, tokenise
from runner.methods.value import Value, optimise_values
from runner.types import Edit

FIRST, LAST = 4 / 32, 8 / 32  # relative depth of the published layers for Llama (4 to 8 of 32)
PUBLISHED_WEIGHT = 15_000  # of the second moment, for models from PUBLISHED_WIDTH units per MLP on
PUBLISHED_WIDTH = 6_400  # the smallest published one (GPT-2 XL)


class BatchHparams(LocateHparams):
    """Hyperparameters of methods that write a batch into several layers."""

    layers: LayersChoice = Field(None, description=LAYERS_HELP)


class MemitHparams(BatchHparams):
    """Hyperparameters of MEMIT."""

    mom2_update_weight: float | None = Field(
        None, gt=0, description="weight of the second moment against the edits; None: 15000, less for narrower MLPs"
    )


@register
class Memit(LocateThenEdit):
    """Mass-Editing Memory in a Transformer, as published.

    For a batch, z_i is the state at the output of the last edited block that yields fact i. From the first edited layer
    to the last, with the weights changed so far: r_i = (z_i - h_i) / (layers left), and
    W' = W + R K^T (weight C + K K^T)^-1 (equation 14 and algorithm 1).
    Each call of `edit` is one batch on the current weights.
    """

    name = "MEMIT"
    paper = "2210.07229"
    changes = "several MLP down-projections, by one least-squares solution per batch"
    fidelity = "as published"
    published: ClassVar[Mapping[str, Any]] = {**LocateThenEdit.published, "context_lengths": ((10, 5),)}
    Hparams: ClassVar[type[BaseModel]] = MemitHparams

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.lm.structure.norm_after:
            raise UserError(
                f"{self.name} cannot serve models of the family '{self.lm.structure.family}': a norm stands between an "
                "MLP's output and the residual stream, so what it adds to several layers does not sum to the change it "
                "looks for; take ROME, or a method that trains weights or leaves them alone, such as FT-M or SCR."
            )

    @property
    def layers(self) -> list[int]:
        """The layers that are edited, ascending."""
        return choose_layers(self.lm, self.hparams.layers, (FIRST, LAST), *self.names)

    @property
    def update_weight(self) -> float:
        """The second moment's weight: a key's k^T C^-1 k grows with the MLP's width, so narrow models need less."""
        chosen = self.hparams.mom2_update_weight or self.configured("mom2_update_weight")
        return float(chosen or self.by_width(PUBLISHED_WEIGHT))

    def by_width(self, published: float) -> float:
        """A published value that stands against squared lengths of keys, less for MLPs narrower than published ones."""
        projection = self.lm.structure.mlp_out(0)
        width = projection.weight.shape[0 if projection.transposed else 1]
        return published * min(1.0, width / PUBLISHED_WIDTH)

    def resolved_hparams(self) -> dict[str, Any]:
        return {**super().resolved_hparams(), "layers": self.layers, **self.restraint}

    @property
    def restraint(self) -> dict[str, float]:
        """What holds the solution back, by the hyperparameter's name."""
        return {"mom2_update_weight": self.update_weight}

    def prepare(self) -> None:
        """Sample the contexts; measure and factor the second moments."""
        self.templates()
        for moment in self.prepare_moments(self.layers).values():
            moment.factor(self.hparams.mom2_ridge)

    def edit(self, edits: Sequence[Edit]) -> None:
        """Apply all edits as one batch. Raises EditError, before anything is changed, for a subject it can't locate."""
        facts = [locate(edit, self.protocol) for edit in edits]
        if not facts:
            return
        layers = self.layers
        moments, site = self.prepare_moments(layers), self.site
        ahead = self.foreseen(edits)
        wanted = torch.stack([value.target for value in ahead or self.values(facts)], 1)
        bare, in_context = self.rows(facts)
        for done, layer in enumerate(layers):
            keys = self.keys(layer, bare, in_context)
            (now,) = at_subject(self.lm, bare, layers[-1], outputs_of=[site])
            residual = (wanted - now.float().T) / self.shares(len(layers) - done)
            self.add(layer, self.update(moments[layer], keys, residual))
        super().edit(edits)

    @property
    def site(self) -> nn.Module:
        """The module whose output at the subject's last token is to become the value."""
        return self.lm.structure.blocks[self.layers[-1]]

    def values(self, facts: Sequence[Fact]) -> list[Value]:
        """The outputs of `site` that yield the targets, each by itself."""
        return optimise_values(self.lm, facts, self.templates(), self.layers[-1], self.site, self.hparams)

    def changes_weights(self) -> list[str]:
        """The layers' down-projections."""
        return [self.lm.structure.mlp_out(layer).name for layer in self.layers]

    def shares(self, left: int) -> float:
        """Among how many layers the rest is shared out, with `left` layers to go."""
        return left

    def rows(self, facts: Sequence[Fact]) -> tuple[list[Row], list[Row]]:
        """The facts' bare prompts, and the same in each context, fact by fact."""
        bare = [tokenise(self.lm, fact) for fact in facts]
        return bare, [tokenise(self.lm, fact.inside(t)) for fact in facts for t in self.templates()[1:]]

    def keys(self, layer: int, bare: Sequence[Row], in_context: Sequence[Row]) -> Tensor:
        """One key per edit, [mlp width, edits]: the bare prompt counts as much as all its contexts together."""
        module = self.lm.structure.mlp_out(layer).module
        (keys,) = at_subject(self.lm, [*bare, *in_context], layer, inputs_of=[module])
        alone, rest = keys[: len(bare)].float(), keys[len(bare) :].float()
        if not in_context:
            return alone.T
        return ((alone + rest.view(len(bare), -1, rest.shape[-1]).mean(1)) / 2).T

    def update(self, moment: Moment, keys: Tensor, residual: Tensor) -> Tensor:
        """R K^T (weight C + K K^T)^-1, [hidden, mlp width]. keys: [mlp width, n]; residual: [hidden, n].

        By the Woodbury identity (weight C + K K^T)^-1 K = C^-1 K (weight I + K^T C^-1 K)^-1: the factor of C serves
        every batch, and only an [n, n] system is solved anew. All in float64.
        """
        k = keys.double()
        spread = moment.solve(k, self.hparams.mom2_ridge)
        inner = k.T @ spread
        inner.diagonal().add_(self.update_weight)
        return (residual.double() @ torch.linalg.solve(inner, spread.T)).float()
