"""What methods that edit an MLP at the subject's last token share: which layers, which contexts, which moments, how a
weight changes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from runner.methods.base import WeightMethod
from runner.methods.contexts import check_templates, sample_templates
from runner.methods.layers import configured
from runner.methods.moments import Moment, MomentHparams, moment_texts, moments
from runner.methods.subject import EditError, Fact, locate
from runner.methods.value import CLAMP, V_LR, V_STEPS, Value, ValueHparams
from runner.methods.variants import Variants
from runner.types import Edit


class LocateHparams(ValueHparams, MomentHparams):
    """Hyperparameters of the family."""

    context_lengths: tuple[tuple[int, int], ...] | None = Field(
        None,
        description="contexts sampled from the model, pairs of tokens in all and number of texts; None: the model's "
        "config, else as published",
    )
    context_templates: tuple[str, ...] | None = Field(
        None, description="contexts to use instead; '{}' is where the prompt goes, the first is '{}' alone"
    )


class LocateThenEdit(WeightMethod, ABC):
    """A method that writes into MLP down-projections. Subclasses add `values`, `edit` and their layers' names.

    A layer's weight W, [hidden, mlp width], maps a key k to a value W k; it is stored transposed in some families.
    """

    family = "locate-then-edit"
    published: ClassVar[Mapping[str, Any]] = {
        "clamp_norm_factor": CLAMP,
        "v_lr": V_LR,
        "v_num_grad_steps": V_STEPS,
        "context_lengths": ((5, 10), (10, 10)),
    }
    kin: ClassVar[tuple[str, ...]] = ()  # methods whose settings for a model stand in where it has none for this one

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._templates: list[str] | None = None
        self._moments: dict[int, Moment] = {}
        self._next: dict[Edit, Value] = {}  # of the edit that is made next, found on the present weights

    def configured(self, key: str) -> Any:
        """What the model's own configuration says about a hyperparameter left open, for this method or its kin."""
        found = (configured(self.lm, name, key) for name in self.names)
        return next((value for value in found if value is not None), None)

    @property
    def names(self) -> tuple[str, ...]:
        """The method's name, then its kin's: the order in which a model's own settings are looked for."""
        return (self.name, *self.kin)

    def templates(self) -> list[str]:
        """Context templates, the bare prompt first: as given, else sampled from the model before the first edit."""
        if self._templates is None:
            h = self.hparams
            given = h.context_templates
            self._templates = (
                check_templates(given) if given else sample_templates(self.lm, h.context_lengths, self.seed)
            )
        return self._templates

    def prepare_moments(self, layers: Sequence[int]) -> dict[int, Moment]:
        """Second moments of the layers, measured on the model before the first edit."""
        if any(layer not in self._moments for layer in layers):
            h = self.hparams
            self._moments = moments(self.lm, layers, moment_texts(self.lm, h), h.mom2_n_tokens)
        return self._moments

    @abstractmethod
    def values(self, facts: Sequence[Fact]) -> list[Value]:
        """The states that yield the facts' targets, each found by itself on the present weights."""

    def foresee(self, edits: Sequence[Edit]) -> dict[Edit, Any]:
        """The edits' values, looked for in one batch; an edit that can't be placed has none."""
        facts = {}
        for edit in edits:
            with suppress(EditError):
                facts[edit] = locate(edit, self.protocol)
        return dict(zip(facts, self.values(list(facts.values())), strict=True))

    def foreseen(self, edits: Sequence[Edit]) -> list[Value] | None:
        """The values of edits, where they were found in one batch with others'; None when one has to be looked for now.

        Those that `ahead` holds are values on the unedited model."""
        if all(edit in self._next for edit in edits):
            return [self._next[edit] for edit in edits]
        if self.edits or self.touched() or any(edit not in self.ahead for edit in edits):
            return None
        return [self.ahead[edit] for edit in edits]

    @classmethod
    def edit_in_step(cls, methods: Sequence[WeightMethod], edits: Sequence[Edit]) -> dict[int, str]:
        """Look for all values in one batch, each on its own sequence's weights, then write them one by one."""
        own = [method for method in methods if isinstance(method, LocateThenEdit)]
        facts: dict[int, Fact] = {}
        for i, edit in enumerate(edits):
            with suppress(EditError):  # said again when it is made
                facts[i] = locate(edit, own[i].protocol)
        variants = Variants(own[0].lm, [own[i].aside for i in facts])
        with variants.asked(range(len(facts))):
            values = own[0].values(list(facts.values()))
        for i, value in zip(facts, values, strict=True):
            own[i]._next = {edits[i]: value}
        try:
            return super().edit_in_step(methods, edits)
        finally:
            for method in own:
                method._next = {}

    @torch.no_grad()
    def add(self, layer: int, update: Tensor) -> None:
        """Add an update, [hidden, mlp width], to a layer's down-projection."""
        projection = self.lm.structure.mlp_out(layer)
        weight = self.touch(projection.name)
        weight.add_((update.T if projection.transposed else update).to(weight))
