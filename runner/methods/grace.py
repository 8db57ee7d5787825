"""GRACE: a codebook of hidden states beside one layer (Hartvigsen et al., arXiv 2211.11031)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from runner.methods.base import Hparams
from runner.methods.hooks import by_row, hidden, hooked, input_of, output_of, with_hidden
from runner.methods.in_network import HookMethod, pairs_of
from runner.methods.layers import LAYER_HELP, LayerChoice, choose_layer
from runner.methods.registry import register
from runner.methods.subject import EditError, Row
from runner.methods.tail import Tail, before_mlp_out
from runner.types import Edit

DEPTH = 27 / 32  # of the published layer for Llama (27 of 32)
APART = 1e-5  # by which the published code keeps two halved radii apart


class GraceHparams(Hparams):
    """Hyperparameters of GRACE."""

    layer: LayerChoice = Field(None, description=LAYER_HELP)
    eps: float | None = Field(None, gt=0, description="deferral radius of a new entry; None: the model's, else 1")
    edit_lr: float | None = Field(None, gt=0, description="learning rate of Adam on a value; None: the model's, else 1")
    n_iter: int | None = Field(None, ge=1, description="steps per edit, all are made; None: the model's, else 50")
    val_init: Literal["cold", "warm"] = Field(
        "cold", description="where a value starts: uniform between 0 and 1, or the layer's own output"
    )
    eps_expand: Literal["coverage", "moving_average"] = Field(
        "coverage", description="how an entry takes in a near prompt of its own answer: larger radius, or a moved key"
    )
    same_label: Literal["mean", "target"] = Field(
        "mean", description="when two answers are the same: by the published code's mean over labels, or token by token"
    )


@dataclass
class Entry:
    """One entry of the codebook, in float32.

    key: [mlp width]. value: [hidden]. radius: prompts nearer than this are answered with the value. mean: of the labels
    as the published code has them (the target's token ids, -100 for each of the prompt's tokens). edit: the latest.
    """

    key: Tensor
    value: Tensor
    radius: float
    target: tuple[int, ...]
    mean: float
    edit: Edit


@register
class Grace(HookMethod):
    """A codebook beside one MLP down-projection; no weight changes.

    A key is the projection's input at a prompt's last token, a value what the projection should return there. A prompt
    whose state lies within the radius of its nearest key gets that key's value at its last token (algorithm 1). A new
    edit makes a new entry; within reach of an entry it widens that entry's radius when the answer is the same, and
    splits the distance between the two when it is another.
    """

    name = "GRACE"
    family = "hidden-state codebook"
    paper = "2211.11031"
    Hparams = GraceHparams
    published: ClassVar[Mapping[str, Any]] = {"eps": 1.0, "edit_lr": 1.0, "n_iter": 50}
    changes: ClassVar[str] = "what one MLP down-projection returns at the last token of prompts near an edited one"
    fidelity: ClassVar[str] = (
        "as published, the value put at the last token alone; editing the very same prompt again replaces its entry"
    )
    extra_memory: ClassVar[str] = "one key and one value, in float32"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.codebook: list[Entry] = []
        self._keys: Tensor | None = None  # all entries' keys as rows, with room for more; an entry's key is its row
        self._stacked: tuple[Tensor, Tensor, Tensor] | None = None
        self._made = 0  # values begun so far, which seeds the next

    @property
    def layer(self) -> int:
        """The layer whose down-projection has the codebook."""
        return choose_layer(self.lm, self.hparams.layer, DEPTH, self.name)

    def resolved_hparams(self) -> dict[str, Any]:
        return {**super().resolved_hparams(), "layer": self.layer}

    def edit(self, edits: Sequence[Edit]) -> None:
        """Learn edits one after another."""
        for edit in edits:
            row = self._row(edit)
            if self.edits or edit not in self.ahead:
                tail = self._tail([row])
                ((key, output),) = self._look(tail, 1)
                entry = self._entry(edit, row, key, output)
                entry.value = self._learn(tail, [row], entry.value[None])[0]
            else:  # the first edit: its entry is new
                key, output, value = self.ahead[edit]
                self._entry(edit, row, key, output).value = value
            self._stacked = None
            self.install(self._site)
            super().edit([edit])

    def foresee(self, edits: Sequence[Edit]) -> dict[Edit, Any]:
        """What each edit's entry would be as the first of a codebook: key, the layer's own output, value; learnt in
        one batch. An edit without a prompt or a target has none."""
        rows = {}
        for edit in edits:
            with suppress(EditError):
                rows[edit] = self._row(edit)
        if not rows:
            return {}
        chosen = list(rows.values())
        tail = self._tail(chosen)
        seen = self._look(tail, len(chosen))
        values = self._learn(tail, chosen, torch.stack([self._start(output, 0) for _, output in seen]))
        return {edit: (*pair, value) for edit, pair, value in zip(rows, seen, values, strict=True)}

    @property
    def _site(self) -> nn.Module:
        return self.lm.structure.mlp_out(self.layer).module

    def _row(self, edit: Edit) -> Row:
        """Prompt and target, with the prompt's last token as the one that is changed."""
        ids, start = pairs_of(self.lm, self.protocol, edit)[0]
        return Row(ids[:-1], start - 1, ids[start:])

    def _tail(self, rows: Sequence[Row]) -> Tail:
        return Tail(self.lm, rows, before_mlp_out(self.lm, self.layer))

    def _look(self, tail: Tail, n: int) -> list[tuple[Tensor, Tensor]]:
        """Of each row the projection's input and output at its prompt's last token."""
        with torch.no_grad(), input_of(self._site) as keys, output_of(self._site) as outputs:
            tail.logits()
        columns = [tail.at_subject(by_row(states[0], n)).float() for states in (keys, outputs)]
        return list(zip(*columns, strict=True))

    def _learn(self, tail: Tail, rows: Sequence[Row], start: Tensor) -> Tensor:
        """Values trained from where they start, [rows, hidden], each by itself (mean cross-entropy over the tokens of
        its row's target)."""
        values = start.clone().requires_grad_(True)
        shares = torch.cat([torch.full((len(row.targets),), 1 / len(row.targets)) for row in rows]).to(self.lm.device)

        def replaced(module: nn.Module, args: Any, output: Any) -> Any:
            state = by_row(hidden(output), len(rows))
            before, _, after = state.tensor_split((tail.at, tail.at + 1), 1)
            return with_hidden(output, torch.cat([before, values.to(state.dtype)[:, None], after], 1))

        with hooked(self._site, replaced), torch.enable_grad():
            optimiser = torch.optim.Adam([values], lr=self.hparams.edit_lr)
            for _ in range(self.hparams.n_iter):
                losses = nn.functional.cross_entropy(tail.logits().float(), tail.targets, reduction="none")
                (values.grad,) = torch.autograd.grad((shares * losses).sum(), [values])
                optimiser.step()
        return values.detach()

    def _entry(self, edit: Edit, row: Row, key: Tensor, output: Tensor) -> Entry:
        """The entry an edit goes to: an old one of the same answer, or a new one."""
        prompt = row.at + 1
        labels = torch.tensor([-100.0] * prompt + [float(i) for i in row.targets])
        new = Entry(
            key, self._start(output, self._made), self.hparams.eps, tuple(row.targets), labels.mean().item(), edit
        )
        self._made += 1
        place, distance = self._nearest(key)
        nearest = None if place is None else self.codebook[place]
        if place is None or nearest is None or distance > self.hparams.eps + nearest.radius:
            self._append(new)
            return new
        if self._same(new, nearest):
            nearest.edit = edit
            if distance > nearest.radius:
                nearest.radius = distance
                if self.hparams.eps_expand == "moving_average":
                    nearest.key.copy_((nearest.key + key) / 2)
            return nearest
        if distance <= self._rounding(key):
            # The very same prompt: halving a distance of nothing would leave two entries that never answer.
            new.radius, new.key = max(nearest.radius, 0.0), nearest.key.copy_(key)
            self.codebook[place] = new
            return new
        nearest.radius, new.radius = distance / 2 - APART, distance / 2
        self._append(new)
        return new

    @torch.no_grad()
    def _append(self, entry: Entry) -> None:
        """Enter a new entry; the table of keys is copied only when it is full, and then grows by half."""
        n = len(self.codebook)
        if self._keys is None or n == len(self._keys):
            table = entry.key.new_empty(max(64, n + n // 2), len(entry.key))
            for i, known in enumerate(self.codebook):
                table[i] = known.key
                known.key = table[i]
            self._keys = table
        self._keys[n] = entry.key
        entry.key = self._keys[n]
        self.codebook.append(entry)

    def _start(self, output: Tensor, number: int) -> Tensor:
        """A value to start from, [hidden]; number: of values begun before."""
        generator = torch.Generator().manual_seed(self.seed + number)
        cold = torch.rand(1, len(output), generator=generator)[0].to(output)
        return cold if self.hparams.val_init == "cold" else output.clone()

    def _same(self, a: Entry, b: Entry) -> bool:
        return a.mean == b.mean if self.hparams.same_label == "mean" else a.target == b.target

    def _nearest(self, key: Tensor) -> tuple[int | None, float]:
        """The place of the nearest entry, and its distance."""
        if self._keys is None:
            return None, float("inf")
        distances = _distances(key[None], self._keys[: len(self.codebook)])[0]
        place = int(distances.argmin())
        return place, float(distances[place])

    def _rounding(self, key: Tensor) -> float:
        """Distances below this are the rounding of another batch, not another prompt."""
        return float(key.norm()) * (1e-4 if self.lm.dtype in (torch.float32, torch.float64) else 2e-2)

    @torch.no_grad()
    def step_in(self, module: nn.Module, entering: Tensor, output: Any) -> Any:
        rows = self.lm.rows
        if rows.ends is None or rows.inputs is None:  # the value stays in the cache of the prompt's last token
            return None
        n = len(rows.inputs)
        every = torch.arange(n, device=rows.ends.device)
        keys, values, radii = self._tensors()
        queries = by_row(entering, n)[every, rows.ends].float()
        distances, nearest = _distances(queries, keys).min(1)
        fires = distances <= radii[nearest]
        for i, near, distance, fired in zip(
            rows.inputs, nearest.tolist(), distances.tolist(), fires.tolist(), strict=True
        ):
            entry = self.codebook[near]
            self.decisions[i] = {
                "fired": fired,
                "entry": near,
                "edit": f"{entry.edit.prompt} {entry.edit.target}",
                "distance": distance,
                "radius": entry.radius,
            }
        states = by_row(hidden(output), n).clone()
        states[every[fires], rows.ends[fires]] = values[nearest[fires]].to(states.dtype)
        return with_hidden(output, states)

    def _tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Keys, values and radii of all entries, a radius being no smaller than rounding."""
        if self._stacked is None:
            assert self._keys is not None  # the hook is put in with the first entry
            keys = self._keys[: len(self.codebook)]
            radii = [max(entry.radius, self._rounding(entry.key)) for entry in self.codebook]
            values = torch.stack([entry.value for entry in self.codebook])
            self._stacked = keys, values, torch.tensor(radii, device=keys.device)
        return self._stacked

    def storage_bytes(self) -> int:
        """Keys, values and radii."""
        return sum(4 * (entry.key.numel() + entry.value.numel() + 1) for entry in self.codebook)

    def undo(self) -> None:
        """Take the hook away and empty the codebook."""
        self.codebook.clear()
        self._keys = self._stacked = None
        self._made = 0
        super().undo()


def _distances(queries: Tensor, keys: Tensor) -> Tensor:
    """Euclidean distances, [queries, keys], exact also where they are small."""
    return torch.cdist(queries, keys, compute_mode="donot_use_mm_for_euclid_dist")
