"""What each cell of a plan will need: peak memory, and seconds, on a device that need not be here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.costs.devices import Device
from runner.costs.load import Load, load_of
from runner.costs.methods import need_of
from runner.costs.shape import Shape, shape_of
from runner.costs.work import Costs, Need
from runner.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.cells import Cell
    from runner.types import Case

BATCH = 128  # questions at once, as `runner.models.lm.BATCH_SIZE`; halved where memory is short
SIZES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Prediction:
    """One cell, in bytes and seconds.

    weights: of the model. kept: what the method holds while edits are in force. editing, preparing, answering: the most
    that each of them takes beside those; answering with `rows` questions at once, the most that fit (at most 128).
    host: of the machine's own memory, where the device is another. per_edit, per_answer, once: seconds.
    exact: False where the method is not known, so that it may need more. problem: why the method can't serve the model.
    """

    weights: float = 0.0
    kept: float = 0.0
    editing: float = 0.0
    preparing: float = 0.0
    answering: float = 0.0
    rows: int = 0
    usable: float = 0.0
    host: float = 0.0
    per_edit: float = 0.0
    per_answer: float = 0.0
    once: float = 0.0
    exact: bool = True
    problem: str | None = None

    @property
    def peak(self) -> float:
        """Bytes at the highest."""
        return self.weights + max(self.kept + self.editing, self.preparing, self.kept + self.answering)

    @property
    def fits(self) -> bool:
        """Whether that fits on the device."""
        return self.problem is None and self.peak <= self.usable

    def seconds(self, edits: int, answers: int) -> float:
        """The time of so much of the cell."""
        return (self.once if edits else 0.0) + edits * self.per_edit + answers * self.per_answer


def predict(cell: Cell, cases: Mapping[str, Case], device: Device, dtype: str) -> Prediction:
    """What a cell needs. Raises UserError for a model whose shape nobody knows."""
    from runner.methods import registry

    shape, itemsize = shape_of(cell.model.spec), SIZES[dtype]
    load = load_of(list(cases.values()), cell.sequences, cell.settings.protocol, shape)
    method = registry.get(cell.method.spec or cell.method.name)
    try:
        need = need_of(method, cell.method.hparams, shape, itemsize, load, device.memory if device.reserved else None)
    except UserError as error:
        return Prediction(problem=str(error), usable=device.usable)
    return of_need(need, shape, itemsize, load, device)


def of_need(need: Need, shape: Shape, itemsize: int, load: Load, device: Device) -> Prediction:
    """Memory and time of one method's need under a load."""
    costs = Costs(shape, itemsize)
    weights = shape.n_values * itemsize
    rows = max(1, min(BATCH, load.questions))
    while rows > 1 and weights + need.kept + _answering(costs, need, load, rows) > device.usable:
        rows = (rows + 1) // 2
    texts = [(load.asked + need.before, float(load.new)), *need.confirming]
    asked = sum(_answer_seconds(costs, read, new, rows, device) for read, new in texts)
    if load.forced:
        asked += _answer_seconds(costs, load.target, 0, rows, device)  # the prompt has been read for the answer
    work = device.seconds(need.flops, need.traffic, need.passes, itemsize, need.double)
    once = device.seconds(need.prepare_flops, 0, 0, itemsize, need.prepare_double)
    return Prediction(
        weights, need.kept, need.editing, need.preparing, _answering(costs, need, load, rows), rows, device.usable,
        need.host, work, asked, once, need.exact,
    )  # fmt: skip


def _answering(costs: Costs, need: Need, load: Load, rows: int) -> float:
    """Bytes of one batch of questions. Written freely: the cache with room for one layer's copy, a pass over the
    prompts, one prediction a row. Forced: beside them a prediction for each of the target's tokens."""
    longest = max([load.asked + need.before, *(read for read, _ in need.confirming)])
    per_place = costs.shape.vocabulary * (costs.itemsize + 8)
    cache = costs.cache(rows * (longest + load.new)) * (1 + 1 / costs.shape.n_layers)
    free = cache + costs.moving(rows * longest) + rows * per_place
    return free + load.forced * rows * load.target * per_place


def _answer_seconds(costs: Costs, read: float, new: float, rows: int, device: Device) -> float:
    """Seconds per question of reading a batch's prompts and of writing to the end of the budget."""
    shape = costs.shape
    first = device.seconds(
        costs.forward(rows * read, shape.n_layers, rows), costs.weights(shape.n_layers), shape.n_layers, costs.itemsize
    )
    traffic = costs.weights(shape.n_layers) + costs.cache(rows * (read + new / 2))
    step = device.seconds(costs.forward(rows, shape.n_layers, rows), traffic, shape.n_layers, costs.itemsize)
    return (first + new * step) / rows
