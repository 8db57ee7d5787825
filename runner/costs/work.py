"""The pieces that methods' costs are made of: passes, activations, training, keys and values."""

from __future__ import annotations

from dataclasses import dataclass, field

from runner.costs.shape import Shape

LOGIT_COPIES = 12  # bytes per logit beside its own: in float32, log probabilities, their gradient
SINGLE, DOUBLE = 4, 8


@dataclass
class Need:
    """What a method asks beside the model's weights and the answers.

    kept: bytes from the first edit to undo, on the device. editing: bytes more while one edit is made. host: bytes in
    the machine's own memory. flops, traffic, passes, double: of one edit (`Device.seconds`); the same of `prepare`.
    before: tokens that it puts in front of a question. confirming: (tokens read, tokens written) of each question that
    it asks the model for itself. exact: False where a method is not known here, so that the memory is at least this.
    """

    kept: float = 0.0
    editing: float = 0.0
    host: float = 0.0
    flops: float = 0.0
    traffic: float = 0.0
    passes: float = 0.0
    double: float = 0.0
    preparing: float = 0.0
    prepare_flops: float = 0.0
    prepare_double: float = 0.0
    before: float = 0.0
    confirming: list[tuple[float, float]] = field(default_factory=list)
    exact: bool = True


@dataclass(frozen=True)
class Costs:
    """Arithmetic and memory on one model. itemsize: bytes of a weight. device_memory: of an accelerator, else None."""

    shape: Shape
    itemsize: int
    device_memory: int | None = None

    @property
    def inner(self) -> float:
        """Width of an MLP's inside; of a mixture of experts, as wide as one token uses, about four times the stream."""
        return float(self.shape.width or 4 * self.shape.hidden)

    def held(self, tokens: float, blocks: float) -> float:
        """Bytes that `blocks` blocks keep of so many tokens for a backward pass, no weight of theirs being trained:
        the norms work in float32; attention keeps queries, keys, values and its result; the MLP its two halves, the
        activation and their product."""
        h, w = self.shape.hidden, self.inner
        return tokens * blocks * (20 * h + (4 * h + 4 * w) * self.itemsize)

    def moving(self, tokens: float) -> float:
        """Bytes of one block's work on so many tokens in a pass that keeps nothing."""
        h, w = self.shape.hidden, self.inner
        return tokens * (8 * h + (4 * h + 3 * w) * self.itemsize)

    def cache(self, tokens: float) -> float:
        """Bytes of the keys and values of so many tokens."""
        return tokens * self.shape.cached * self.itemsize

    def logits(self, places: float) -> float:
        """Bytes of so many predictions, with log probabilities and gradients."""
        return places * self.shape.vocabulary * (self.itemsize + LOGIT_COPIES)

    def forward(self, tokens: float, blocks: float, places: float = 0.0) -> float:
        """Operations of a pass: two per weight and token; places: predictions made."""
        return 2 * tokens * blocks * self.shape.block_active + 2 * places * self.shape.hidden * self.shape.vocabulary

    def weights(self, blocks: float) -> float:
        """Bytes of the weights of so many blocks, read once per pass."""
        return blocks * self.shape.block_active * self.itemsize

    def adam(self, values: float) -> float:
        """Bytes of training so many values in float32: a copy unless they are, gradients, moments, a step's rests."""
        copied = 0 if self.itemsize == SINGLE else SINGLE + self.itemsize
        return values * (copied + SINGLE + 2 * SINGLE + 2 * SINGLE)
