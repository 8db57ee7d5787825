"""What both sides work on: the model, the cases, the contexts, the questions."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from runner.datasets import base as datasets
from runner.methods import registry
from runner.models.lm import LanguageModel
from runner.protocol import Protocol, get_protocol
from runner.types import Case, Edit

PROTOCOL = "wild"


@dataclass(frozen=True)
class World:
    """lm: the unedited model in float32 on the CPU. cases: of the data set, in its order."""

    lm: LanguageModel
    protocol: Protocol
    cases: Sequence[Case]

    @classmethod
    def load(cls, model: str, dataset: str, n_cases: int) -> World:
        """The model and the first cases."""
        cases = datasets.load(dataset, limit=n_cases).cases
        return cls(LanguageModel.load(model, "cpu", "float32"), get_protocol(PROTOCOL), cases)

    def edits(self, n: int) -> list[Edit]:
        """The first edits of the cases."""
        return [edit for case in self.cases for edit in case.edits][:n]

    def questions(self, n: int) -> list[tuple[str, str]]:
        """The first different questions, as they are put, each with its first answer."""
        asked = {
            self.protocol.render(probe.prompt): probe.answers[0][0]
            for case in self.cases
            for probe in case.probes
            if probe.answers
        }
        return list(asked.items())[:n]

    def copy(self, layers: Sequence[int]) -> dict[str, torch.Tensor]:
        """The layers' projections as they are, by the names of their weights."""
        names = [self.lm.structure.mlp_weight(layer) for layer in layers]
        return {name: self.lm.model.get_parameter(name).detach().clone() for name in names}

    def change(self, before: dict[str, torch.Tensor]) -> torch.Tensor:
        """How far these weights have moved, as one vector."""
        moved = [(self.lm.model.get_parameter(name).detach() - old).flatten() for name, old in before.items()]
        return torch.cat([torch.zeros(0), *moved])

    def method(self, name: str, hparams: dict[str, Any] | None = None) -> Any:
        """A method on this model."""
        return registry.get(name)(self.lm, self.protocol, hparams)


@dataclass
class Stopwatch:
    """Processor seconds of this process and seconds on the wall."""

    processor: float = 0.0
    wall: float = 0.0

    def __enter__(self) -> Stopwatch:
        self._start = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self.processor += time.process_time() - self._start[0]
        self.wall += time.perf_counter() - self._start[1]

    def times(self) -> dict[str, float]:
        """As it travels between processes."""
        return {"processor": self.processor, "wall": self.wall}
