"""PMET: values of attention and MLP are found together, the MLP's is written (Li et al., arXiv 2308.08742)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from pydantic import Field
from torch import nn

from runner.methods.memit import Memit, MemitHparams
from runner.methods.registry import register
from runner.methods.subject import Fact
from runner.methods.value import SOLVED, Course, Value, optimise_values

CLOSE = 1e-2  # the weighted divergence below which a prediction that is right is left as it is


class PmetHparams(MemitHparams):
    """Hyperparameters of PMET; the defaults are those published for Llama-2-7B."""

    v_weight_decay: float = Field(0.5, ge=0, description="weight of |delta| / |initial value|^2, of both values")
    nll_loss_factor: float = Field(
        1.0, gt=0, description="weight of the likelihood; a tenth of it once the target is what the model says"
    )


class Confident(Course):
    """Once every token of the target is the most likely one, the likelihood counts a tenth, and the optimisation ends
    as soon as the divergence is small too."""

    def __init__(self, factor: float) -> None:
        self.full = self.factor = factor

    def enough(self, loss: float, divergence: float, said: Callable[[], bool]) -> bool:
        if loss < SOLVED:
            return True
        right = said()
        self.factor = self.full / 10 if right else self.full
        return right and divergence <= CLOSE


@register
class Pmet(Memit):
    """Changes several MLP down-projections, towards values found for attention and MLP at once.

    A vector is added to the attention's output and another to the MLP's, at the subject's last token in the last edited
    layer, and both are optimised; the attention's is dropped. From the first edited layer to the last,
    W' = W + R K^T (weight C + K K^T)^-1 as in MEMIT, but R = (z - m) / sqrt(layers left), m being the last layer's MLP
    output on the weights changed so far.
    """

    name = "PMET"
    paper = "2308.08742"
    kin = ("MEMIT",)
    published: ClassVar[Mapping[str, Any]] = {**Memit.published, "clamp_norm_factor": 1.0, "v_num_grad_steps": 20}
    fidelity = "as published"
    # For a small model: values need more room, and few tokens of text stand against an edit.
    sample_hparams = {"v_weight_decay": 1e-3, "clamp_norm_factor": 8.0, "mom2_update_weight": 0.1}
    Hparams = PmetHparams

    @property
    def site(self) -> nn.Module:
        return self.lm.structure.mlp_out(self.layers[-1]).module

    def values(self, facts: Sequence[Fact]) -> list[Value]:
        """The MLP outputs of the last layer that yield the targets together with attention outputs found beside."""
        h, last = self.hparams, self.layers[-1]
        attention, course = self.lm.structure.attn_out(last).module, partial(Confident, h.nll_loss_factor)
        return optimise_values(self.lm, facts, self.templates(), last, self.site, h, attention, course)

    def shares(self, left: int) -> float:
        return math.sqrt(left)
