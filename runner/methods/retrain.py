"""Re-training: the whole model goes on training on the new facts, the plain alternative to knowledge editing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field

from runner.methods.joint import JointHparams, JointTraining
from runner.methods.registry import register
from runner.methods.supervised import edit_pair
from runner.models.lm import Pair
from runner.types import Edit


class RetrainHparams(JointHparams):
    """Hyperparameters of re-training."""

    statements: bool = Field(True, description="learn each fact as a sentence of plain text too")
    end_token: bool = Field(True, description="learn the end token after an answer too")


@register
class Retrain(JointTraining):
    """Changes the whole model: continued training on all new facts so far together, from the original weights.

    Each fact is learnt as a question with its answer (loss on the answer) and as a statement (loss on all its tokens).
    """

    name: ClassVar[str] = "retrain"
    fidelity: ClassVar[str] = "a baseline of this project, in no paper"
    extra_memory: ClassVar[str] = "the whole model, however many edits"
    sample_hparams: ClassVar[dict[str, Any]] = {"lr": 3e-3}
    family: ClassVar[str] = "re-training"
    Hparams: ClassVar[type[RetrainHparams]] = RetrainHparams
    published: ClassVar[dict[str, Any]] = {"epochs": 10, "batch_size": 16, "lr": 1e-5}
    decoupled_decay = True

    def trained(self) -> list[str]:
        """Every parameter; one that is shared counts once."""
        return [name for name, parameter in self.lm.model.named_parameters() if parameter.is_floating_point()]

    def rows(self, edits: Sequence[Edit]) -> list[Pair]:
        """The questions with their answers, then the statements."""
        rows = [edit_pair(self.lm, self.protocol, edit, self.hparams.end_token) for edit in edits]
        if self.hparams.statements:
            texts = [edit.statement for edit in edits if edit.statement.strip()]
            rows += [Pair(ids, 1) for ids in self.lm.encode(texts) if len(ids) > 1]
        return rows
