"""Fine-tuning one MLP down-projection, one edit after the other: what FT-L and FT-M share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import Field
from torch import Tensor, enable_grad, no_grad, stack

from runner.methods.base import Hparams, WeightMethod
from runner.methods.layers import LAYER_HELP, LayerChoice, choose_layer
from runner.methods.stacked import AT_ONCE, Lesson, fine_tune, group_size, groups
from runner.methods.supervised import Training
from runner.types import Edit

DEPTH = 0.66  # of the published layer for Llama (21 of 32)


class FineTuningHparams(Hparams):
    """Hyperparameters of both; the defaults are those published for Llama-3-8B."""

    layer: LayerChoice = Field(None, description=LAYER_HELP)
    depth: float = Field(DEPTH, ge=0, le=1, description="relative depth of the layer where nothing better is known")
    steps: int | None = Field(
        None, ge=1, description="most optimisation steps per edit; None: the model's configuration, else 25"
    )
    lr: float | None = Field(None, gt=0, description="Adam's learning rate; None: the model's configuration, else 5e-4")
    weight_decay: float = Field(0.0, ge=0, description="Adam's weight decay (L2)")
    min_loss: float = Field(1e-2, ge=0, description="training ends once the loss is below this (nats per token)")


class FineTuning(WeightMethod, ABC):
    """One edit after the other, each trained with a new Adam from the weights the last one left."""

    family = "fine-tuning"
    Hparams = FineTuningHparams
    published = {"steps": 25, "lr": 5e-4}

    @property
    def layer(self) -> int:
        """The layer that is trained."""
        # A depth of the user's own goes before what others published.
        names = [self.name] if self.hparams.depth == DEPTH else []
        return choose_layer(self.lm, self.hparams.layer, self.hparams.depth, *names)

    def resolved_hparams(self) -> dict[str, Any]:
        """The hyperparameters with the layer's number."""
        return {**super().resolved_hparams(), "layer": self.layer}

    @abstractmethod
    def objective(self, edit: Edit) -> Callable[[], Tensor]:
        """A function that gives the loss of an edit on the present weights, with its gradient."""

    def lesson(self, edit: Edit) -> Lesson | None:
        """What `objective` says, in the form in which several edits are learnt at once; None: one by one."""
        return None

    def limits(self, start: Tensor) -> tuple[Tensor, Tensor] | None:
        """The least and the largest that each weight may become, in float32; `start`: before this edit."""
        return None

    def edit(self, edits: Sequence[Edit]) -> None:
        """Train the layer on each edit in turn."""
        for edit in edits:
            if self.edits or self.touched() or edit not in self.ahead:
                self._train(self.objective(edit))
            else:
                with no_grad():
                    self.touch(self.lm.structure.mlp_weight(self.layer)).copy_(self.ahead[edit])
            super().edit([edit])

    def foresee(self, edits: Sequence[Edit]) -> dict[Edit, Any]:
        """The weight that each edit alone leaves, several learnt in one batch.

        An edit without a prompt or a target has none, nor has any in a model with several weights in place of one.
        """
        distinct = list(dict.fromkeys(edits))
        start = self.original(self.lm.structure.mlp_weight(self.layer))
        most = AT_ONCE // (start.numel() * start.element_size())  # what is kept is bounded too
        learnt = self._learn_at_once(distinct[:most], [start] * len(distinct))
        return {distinct[i]: weight for i, weight in learnt.items()}

    def changes_weights(self) -> list[str]:
        """The down-projection that is trained."""
        return [self.lm.structure.mlp_weight(self.layer)]

    @classmethod
    def edit_in_step(cls, methods: Sequence[WeightMethod], edits: Sequence[Edit]) -> dict[int, str]:
        """Train a weight for each sequence on its edit, in one batch where that can be."""
        first = methods[0]
        assert isinstance(first, FineTuning)
        name = first.lm.structure.mlp_weight(first.layer)
        unedited = first.original(name)
        learnt = first._learn_at_once(edits, [method.aside.get(name, unedited) for method in methods])
        failed: dict[int, str] = {}
        for i, (method, edit) in enumerate(zip(methods, edits, strict=True)):
            if i in learnt:
                method.touch(name)
                method.aside = {name: learnt[i]}
                method.edits.append(edit)
            else:
                failed.update((i, why) for why in super().edit_in_step([method], [edit]).values())
        return failed

    def _learn_at_once(self, edits: Sequence[Edit], starts: Sequence[Tensor]) -> dict[int, Tensor]:
        """The weights that the edits leave, by their places, each trained from its own start."""
        if not self.lm.structure.mlp_outs:
            return {}
        h = self.hparams
        known = [i for i, edit in enumerate(edits) if edit.prompt.strip() and edit.target.strip()]
        lessons = {i: lesson for i in known if (lesson := self.lesson(edits[i])) is not None}
        found: dict[int, Tensor] = {}
        learnable = list(lessons)
        for places in groups([len(lessons[i].row.ids) for i in learnable], group_size(starts[0].numel())):
            group = [learnable[place] for place in places]
            common = all(starts[i] is starts[group[0]] for i in group)
            begun = (
                starts[group[0]].expand(len(group), *starts[0].shape) if common else stack([starts[i] for i in group])
            )
            learnt = fine_tune(
                self.lm, self.layer, [lessons[i] for i in group], begun, h.lr, h.weight_decay, h.steps,
                h.min_loss, self.limits,
            )  # fmt: skip
            found.update((i, one.values[0]) for i, one in zip(group, learnt, strict=True))
        return found

    def _train(self, objective: Callable[[], Tensor]) -> None:
        h = self.hparams
        weight = self.touch(self.lm.structure.mlp_weight(self.layer))
        limits = self.limits(weight.detach().float())
        with Training([weight], h.lr, h.weight_decay) as training:
            for _ in range(h.steps):
                with enable_grad():
                    loss = objective()
                # Also ends on a loss that is not a number: a collapsed model can't be trained further.
                if not loss.item() >= h.min_loss:
                    break
                training.step(loss)
                if limits is not None:
                    with no_grad():
                        training.masters[0].clamp_(*limits)
                    training.store()
