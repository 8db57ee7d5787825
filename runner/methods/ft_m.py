"""FT-M: fine-tune one MLP down-projection on the target's tokens only (arXiv 2401.01286, section 4.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from runner.methods.ft import FineTuning, FineTuningHparams
from runner.methods.registry import register
from runner.methods.stacked import Lesson, spoken
from runner.methods.supervised import edit_pair, repeated_loss
from runner.methods.tail import before_mlp_weight
from runner.types import Edit


class FTMHparams(FineTuningHparams):
    """Hyperparameters of FT-M; the defaults are those published for Llama-3-8B."""

    end_token: bool = Field(False, description="learn the end token after the target too (not in the publication)")


@register
class FTM(FineTuning):
    """Changes one MLP down-projection: trained on one edit after the other, from the weights the last one left.

    Loss: mean cross-entropy over the target's tokens given the edit's prompt (in the protocol's format, one space
    before the target). Optimiser: Adam, new for each edit, no constraint on the size of the change.
    """

    name: ClassVar[str] = "FT-M"
    paper: ClassVar[str] = "2401.01286"
    fidelity: ClassVar[str] = "as published"
    Hparams: ClassVar[type[FTMHparams]] = FTMHparams

    def objective(self, edit: Edit) -> Callable[[], Tensor]:
        """Cross-entropy on the target's tokens, each given those before it."""
        pair = edit_pair(self.lm, self.protocol, edit, self.hparams.end_token)
        return repeated_loss(self.lm, [pair], before_mlp_weight(self.lm, self.layer))

    def lesson(self, edit: Edit) -> Lesson:
        """The same."""
        return spoken(*edit_pair(self.lm, self.protocol, edit, self.hparams.end_token))
