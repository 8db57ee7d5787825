"""LocFT-BF: localised fine-tuning in the ordinary, breadth-first way (arXiv 2509.22072)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field
from torch import nn

from runner.methods.base import Hparams
from runner.methods.joint import JointHparams, JointTraining
from runner.methods.layers import LAYER_HELP, LayerChoice, choose_layer
from runner.methods.registry import register
from runner.methods.supervised import edit_pair
from runner.methods.tail import before_mlp_weight
from runner.models.lm import Pair
from runner.types import Edit

DEPTH = 0.69  # of the published layer for Llama (22 of 32)


class LocatedHparams(Hparams):
    """Which layer is trained. Apart from the others, since these come first."""

    layer: LayerChoice = Field(None, description=LAYER_HELP)
    depth: float = Field(DEPTH, ge=0, le=1, description="relative depth of the layer where nothing better is known")


class LocFTBFHparams(JointHparams, LocatedHparams):
    """Hyperparameters of LocFT-BF; the defaults are those published for Llama-3-8B."""

    end_token: bool = Field(True, description="learn the end token after the target too, as published")


@register
class LocFTBF(JointTraining):
    """Changes one MLP down-projection: trained on all edits so far together, in epochs over shuffled mini-batches.

    Loss: mean over edits of the mean cross-entropy over the target's tokens and the end token, given the edit's prompt.
    """

    name: ClassVar[str] = "LocFT-BF"
    family: ClassVar[str] = "fine-tuning"
    paper: ClassVar[str] = "2509.22072"
    fidelity: ClassVar[str] = "as published"
    Hparams: ClassVar[type[LocFTBFHparams]] = LocFTBFHparams
    published: ClassVar[dict[str, Any]] = {"epochs": 25, "batch_size": 100, "lr": 5e-4}

    @property
    def layer(self) -> int:
        """The layer that is trained."""
        names = [self.name] if self.hparams.depth == DEPTH else []
        return choose_layer(self.lm, self.hparams.layer, self.hparams.depth, *names)

    def resolved_hparams(self) -> dict[str, Any]:
        """The hyperparameters with the layer's number."""
        return {**super().resolved_hparams(), "layer": self.layer}

    def trained(self) -> list[str]:
        """The located layer's down-projection."""
        return [self.lm.structure.mlp_weight(self.layer)]

    def constant(self) -> list[nn.Module]:
        """Everything before the trained down-projection."""
        return before_mlp_weight(self.lm, self.layer)

    def rows(self, edits: Sequence[Edit]) -> list[Pair]:
        """One row per edit."""
        return [edit_pair(self.lm, self.protocol, edit, self.hparams.end_token) for edit in edits]
