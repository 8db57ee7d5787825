"""AlphaEdit: MEMIT's least squares within the null space of preserved keys (Fang et al., arXiv 2410.02355)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from runner.methods.memit import BatchHparams, Memit
from runner.methods.moments import Moment
from runner.methods.registry import register
from runner.methods.subject import locate
from runner.types import Edit

PUBLISHED_L2 = 10


class AlphaEditHparams(BatchHparams):
    """Hyperparameters of AlphaEdit; the defaults are those published for Llama-3-8B."""

    v_weight_decay: float = Field(0.5, ge=0, description="weight of |delta| / |initial value|^2")
    nullspace_threshold: float | None = Field(
        None,
        gt=0,
        description="directions with a smaller second moment may change; None: the model's config, else 0.02",
    )
    l2: float | None = Field(None, gt=0, description="weight of |dW|^2; None: 10, less for narrower MLPs")


@register
class AlphaEdit(Memit):
    """Changes several MLP down-projections, in directions that ordinary text hardly uses.

    P projects on the eigenvectors of C whose eigenvalues are below a threshold. In MEMIT's place stands
    W' = W + R K^T P (K_p K_p^T P + K K^T P + l2 I)^-1, in which K_p holds the keys of all earlier batches: what was
    written before is kept too. Each call of `edit` is one batch; `undo` forgets the keys.
    """

    name = "AlphaEdit"
    paper = "2410.02355"
    kin = ("MEMIT",)
    published: ClassVar[Mapping[str, Any]] = {
        **Memit.published,
        "clamp_norm_factor": 0.75,
        "v_lr": 0.1,
        "nullspace_threshold": 2e-2,
    }
    fidelity = "as published"
    # The small model's layers are narrow and always at work: few directions are quiet, and values need their room.
    sample_hparams = {
        "nullspace_threshold": 5.0,
        "l2": 1.0,
        "v_lr": 0.5,
        "v_weight_decay": 1e-3,
        "clamp_norm_factor": 4.0,
    }
    extra_memory = "one key per edit and layer, within the null space, until there are as many as it has directions"
    Hparams = AlphaEditHparams

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._past: dict[int, Tensor] = {}  # the keys K_p within the null space, [directions, edits so far] …
        self._sums: dict[int, Tensor] = {}  # … or once they are more than the directions, K_p K_p^T

    @property
    def l2(self) -> float:
        """The weight of the change's squared length."""
        return float(self.hparams.l2 or self.configured("l2") or self.by_width(PUBLISHED_L2))

    @property
    def restraint(self) -> dict[str, float]:
        return {"l2": self.l2}

    def prepare(self) -> None:
        """Sample the contexts; measure the second moments and find their null spaces."""
        self.templates()
        for moment in self.prepare_moments(self.layers).values():
            moment.null_space(self.hparams.nullspace_threshold)

    def edit(self, edits: Sequence[Edit]) -> None:
        super().edit(edits)
        # The keys are kept as the edited model has them: in later layers the edit has moved them.
        bare, in_context = self.rows([locate(edit, self.protocol) for edit in edits])
        for layer in self.layers if bare else []:
            basis = self.prepare_moments(self.layers)[layer].null_space(self.hparams.nullspace_threshold)
            self._keep(layer, basis.T @ self.keys(layer, bare, in_context).to(basis))

    def _keep(self, layer: int, new: Tensor) -> None:
        """Remember keys, [directions, n]; of more keys than there are directions only the sum of their squares, so that
        neither the cost of an edit nor what is kept grows any further."""
        if layer in self._sums:
            self._sums[layer] += new @ new.T
            return
        past = torch.cat([self._past[layer], new], 1) if layer in self._past else new
        if past.shape[1] <= len(past):
            self._past[layer] = past
        else:
            self._past.pop(layer, None)
            self._sums[layer] = past @ past.T

    def update(self, moment: Moment, keys: Tensor, residual: Tensor) -> Tensor:
        """R K^T P (K_p K_p^T P + K K^T P + l2 I)^-1, [hidden, mlp width]. keys: [mlp width, n]; residual: [hidden, n].

        With P = U U^T and Q = U^T [K_p, K] this is [0, R] (Q^T Q + l2 I)^-1 Q^T U^T: a system of as many equations as
        there are edits so far, and not as the MLP is wide. It equals R K^T U (Q Q^T + l2 I)^-1 U^T, which is solved
        once there are more edits than directions in U. In float64.
        """
        basis = moment.null_space(self.hparams.nullspace_threshold)
        inside, residual = basis.T @ keys.to(basis), residual.to(basis)
        if moment.layer in self._sums:
            outer = self._sums[moment.layer] + inside @ inside.T
            outer.diagonal().add_(self.l2)
            return (residual @ (torch.linalg.solve(outer, inside).T @ basis.T)).float()
        past = self._past.get(moment.layer, inside[:, :0])
        q = torch.cat([past, inside], 1)
        inner = q.T @ q
        inner.diagonal().add_(self.l2)
        weights = torch.linalg.solve(inner, q.T)[past.shape[1] :]
        return (residual @ (weights @ basis.T)).float()  # so bracketed, nothing is as large as [hidden, directions]

    def storage_bytes(self) -> int:
        """The changed parameters and the keys of the edits so far."""
        kept = [*self._past.values(), *self._sums.values()]
        return super().storage_bytes() + sum(keys.numel() * keys.element_size() for keys in kept)

    def undo(self) -> None:
        self._past.clear()
        self._sums.clear()
        super().undo()
