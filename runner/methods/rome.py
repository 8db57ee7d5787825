"""ROME: one fact is a rank-one change of one MLP (Meng et al., arXiv 2202.05262)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from runner.methods.layers import LAYER_HELP, LayerChoice, choose_layer
from runner.methods.locate_then_edit import LocateHparams, LocateThenEdit
from runner.methods.registry import register
from runner.methods.subject import Fact, locate
from runner.methods.value import Value, optimise_values
from runner.types import Edit

DEPTH = 5 / 32  # relative depth of the published layer for Llama (5 of 32)


class RomeHparams(LocateHparams):
    """Hyperparameters of ROME."""

    layer: LayerChoice = Field(None, description=LAYER_HELP)
    mom2_adjustment: bool = Field(True, description="weigh the key by the inverse second moment, else take it as it is")


@register
class Rome(LocateThenEdit):
    """Rank-One Model Editing, as published.

    W' = W + v u^T with u = C^-1 k / |C^-1 k| and v = (v* - W k0) / (k0 . u), so that W' k0 = v* (equation 2).
    k is the key averaged over contexts, k0 the key of the bare prompt. That the two differ is the known mismatch of the
    published code (arXiv 2403.07175); it is kept here, `left_vector` and `right_vector` are where a mended method
    differs.
    """

    name = "ROME"
    paper = "2202.05262"
    changes = "one MLP down-projection, by rank one per edit"
    fidelity = "as published, with the known mismatch of its two keys (R-ROME mends it)"
    Hparams = RomeHparams

    @property
    def layer(self) -> int:
        """The layer that is edited."""
        return choose_layer(self.lm, self.hparams.layer, DEPTH, *self.names)

    def resolved_hparams(self) -> dict[str, Any]:
        return {**super().resolved_hparams(), "layer": self.layer}

    def prepare(self) -> None:
        """Sample the contexts; measure and factor the second moment."""
        self.templates()
        if self.hparams.mom2_adjustment:
            self.prepare_moments([self.layer])[self.layer].factor(self.hparams.mom2_ridge)

    def edit(self, edits: Sequence[Edit]) -> None:
        """Apply edits one after another, each on the weights the one before left.

        Raises EditError, before anything is changed, when a subject is not exactly once in its prompt.
        """
        facts = [locate(edit, self.protocol) for edit in edits]
        layer = self.layer
        if self.hparams.mom2_adjustment:
            self.prepare_moments([layer])
        for edit, fact in zip(edits, facts, strict=True):
            (value,) = self.foreseen([edit]) or self.values([fact])
            self.insert(layer, fact, value)
            super().edit([edit])

    def values(self, facts: Sequence[Fact]) -> list[Value]:
        """The outputs of the layer's MLP that yield the targets, each by itself, on the present weights."""
        site = self.lm.structure.mlp_out(self.layer).module
        return optimise_values(self.lm, facts, self.templates(), self.layer, site, self.hparams)

    def changes_weights(self) -> list[str]:
        """The layer's down-projection."""
        return [self.lm.structure.mlp_out(self.layer).name]

    def insert(self, layer: int, fact: Fact, value: Value) -> None:
        """Write one key-value pair into the layer."""
        u = self.left_vector(layer, value)
        self.add(layer, torch.outer(self.right_vector(value, u), u))

    def left_vector(self, layer: int, value: Value) -> Tensor:
        """u, [mlp width]: the direction of keys that is rewritten, of length 1."""
        u = value.keys.mean(0)
        if self.hparams.mom2_adjustment:
            u = self.prepare_moments([layer])[layer].solve(u, self.hparams.mom2_ridge)
        return (u / u.norm()).float()

    def right_vector(self, value: Value, u: Tensor) -> Tensor:
        """v, [hidden]: what is written, so that the bare prompt's key yields exactly the value that was looked for."""
        return value.delta / torch.dot(value.keys[0], u)
