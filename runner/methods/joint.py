"""Training on all edits of a sequence together: what LocFT-BF and retraining share.

Edits come one call at a time, and are only noted down. When they have to be effective (`settle`: at the end of a
sequence's edits, or before the first question) the model is trained on all of them together, from its original
weights, in epochs over mini-batches. So a sequence in one call, in many calls, or with questions in between leaves the
same model, and every time that new edits settle costs a training on all edits so far.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field
from torch import nn

from runner.methods.base import Hparams, WeightMethod
from runner.methods.supervised import Training, repeated_loss, target_loss
from runner.models import sharding
from runner.models.lm import Pair
from runner.types import Edit


class JointHparams(Hparams):
    """What training on all edits together is set by."""

    epochs: int | None = Field(
        None,
        ge=1,
        description="most passes over all edits; None: the model's configuration, else LocFT-BF 25, retrain 10",
    )
    batch_size: int | None = Field(
        None, ge=1, description="rows in a mini-batch; None: the model's configuration, else LocFT-BF 100, retrain 16"
    )
    lr: float | None = Field(
        None, gt=0, description="learning rate; None: the model's configuration, else LocFT-BF 5e-4, retrain 1e-5"
    )
    weight_decay: float = Field(0.0, ge=0, description="LocFT-BF: Adam's (L2); retrain: AdamW's")
    min_loss: float = Field(
        1e-2, ge=0, description="a batch below this loss makes no step, an epoch below it is the last (nats per token)"
    )


class JointTraining(WeightMethod, ABC):
    """A method that learns all edits so far together. Subclasses say which parameters and which rows."""

    decoupled_decay = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._settled = True

    @abstractmethod
    def trained(self) -> list[str]:
        """Full names of the parameters that are trained."""

    def constant(self) -> list[nn.Module] | None:
        """Modules whose outputs the training does not change, the embedding among them; None where it does."""
        return None

    @abstractmethod
    def rows(self, edits: Sequence[Edit]) -> list[Pair]:
        """What is learnt: rows of tokens with their targets."""

    def edit(self, edits: Sequence[Edit]) -> None:
        """Note edits down; they are learnt when they settle."""
        super().edit(edits)
        self._settled = self._settled and not edits

    def settle(self) -> None:
        """Train on all edits so far from the original weights. Of edits with one prompt the last counts."""
        if self._settled:
            return
        # Noted first: where training fails, asking does not train again.
        self._settled = True
        latest = {edit.prompt: edit for edit in self.edits}
        parameters = [self.touch(name) for name in self.trained()]
        with torch.no_grad():
            for name, parameter in zip(self.trained(), parameters, strict=True):
                parameter.copy_(self.original(name))
        self._train(parameters, self.rows(list(latest.values())))

    def _train(self, parameters: Sequence[nn.Parameter], rows: list[Pair]) -> None:
        h, rng = self.hparams, random.Random(self.seed)
        with Training(parameters, h.lr, h.weight_decay, self.decoupled_decay) as training:
            # Rows that fit into one batch are the same every time, whatever their order. What is kept of their first
            # pass can only be continued on one device.
            again = len(rows) <= h.batch_size and len(sharding.places(self.lm.model)) <= 1
            constant = self.constant() if again else None
            whole = None if constant is None else repeated_loss(self.lm, rows, constant)
            for _ in range(h.epochs):
                rng.shuffle(rows)
                total = 0.0
                for start in range(0, len(rows), h.batch_size):
                    batch = rows[start : start + h.batch_size]
                    with torch.enable_grad():
                        loss = whole() if whole else target_loss(self.lm, batch)
                    value = loss.item()
                    total += value * len(batch)
                    if value >= h.min_loss:
                        training.step(loss)
                # Also ends on a loss that is not a number: a collapsed model can't be trained further.
                if not total / len(rows) >= h.min_loss:
                    return

    def undo(self) -> None:
        """Put back the original weights and forget all edits, learnt or pending."""
        super().undo()
        self._settled = True
