"""FT-L: constrained fine-tuning of one MLP down-projection, the baseline of ROME's paper (arXiv 2202.05262)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from runner.methods.ft import FineTuning, FineTuningHparams
from runner.methods.registry import register
from runner.methods.stacked import Lesson
from runner.methods.subject import Row
from runner.methods.supervised import edit_pair
from runner.methods.tail import Tail, before_mlp_weight
from runner.types import Edit


class FTLHparams(FineTuningHparams):
    """Hyperparameters of FT-L; layer, steps and learning rate are those published for Llama-3-8B."""

    norm_constraint: float | None = Field(
        None,
        ge=0,
        description="most that an edit may change a single weight; 0: no limit; None: the model's configuration, "
        "else 5e-4",
    )


@register
class FTL(FineTuning):
    """Changes one MLP down-projection: trained on one edit after the other, each weight kept near where it was.

    Loss, as published: minus the mean log probability of all the target's tokens, each as the very next token after
    the prompt. Only the first of several can be so, which makes it a weak baseline. Optimiser: Adam, new for each
    edit; after each step every weight is brought back to within `norm_constraint` of its value before this edit.
    """

    name: ClassVar[str] = "FT-L"
    paper: ClassVar[str] = "2202.05262"
    fidelity: ClassVar[str] = "as published"
    sample_hparams: ClassVar[dict[str, Any]] = {"layer": 0, "lr": 0.01, "norm_constraint": 0.05}
    Hparams: ClassVar[type[FTLHparams]] = FTLHparams
    published: ClassVar[dict[str, Any]] = {**FineTuning.published, "norm_constraint": 5e-4}

    def objective(self, edit: Edit) -> Callable[[], Tensor]:
        """Cross-entropy of all the target's tokens at the prompt's last position."""
        ids, start = edit_pair(self.lm, self.protocol, edit)
        # Asked for the first of the target's tokens alone, the row ends with the prompt.
        tail = Tail(self.lm, [Row(ids[:start], 0, ids[start : start + 1])], before_mlp_weight(self.lm, self.layer))
        targets = torch.tensor(ids[start:], device=self.lm.device)
        return lambda: -torch.log_softmax(tail.logits()[0].float(), -1)[targets].mean()

    def lesson(self, edit: Edit) -> Lesson:
        """The same."""
        ids, start = edit_pair(self.lm, self.protocol, edit)
        return Lesson(Row(ids[:start], 0, ids[start : start + 1]), ids[start:], [0] * (len(ids) - start))

    def limits(self, start: Tensor) -> tuple[Tensor, Tensor] | None:
        """The published box around the weight before this edit."""
        limit = self.hparams.norm_constraint
        return (start - limit, start + limit) if limit else None
