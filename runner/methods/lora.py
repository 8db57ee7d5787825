"""LoRA and AdaLoRA: small trained matrices beside attention projections, by the `peft` library (arXiv 2106.09685)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from runner.errors import UserError
from runner.methods.base import Hparams, Method
from runner.methods.lora_stacked import Settings, called_once, train_adapters
from runner.methods.registry import register
from runner.methods.stacked import group_size, groups, spoken
from runner.methods.supervised import edit_pair, repeated_loss
from runner.models.sharding import check_one_device
from runner.types import Edit

ADAPTER = "edits"
QUERY_VALUE = ("q_proj", "v_proj", "query", "value", "q_lin", "v_lin")
FUSED = ("c_attn", "query_key_value", "qkv_proj", "Wqkv", "c_proj_qkv")  # families with one projection for all three


class LoraHparams(Hparams):
    """Hyperparameters of both; the defaults are those published for Llama-3.1-8B (arXiv 2505.18690: AdaLoRA)."""

    rank: int | None = Field(None, ge=1, description="rank of each adapter; None: the model's configuration, else 8")
    alpha: float | None = Field(
        None, gt=0, description="adapters are scaled by alpha / rank; None: the model's configuration, else 32"
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout on the adapters' input, in training only")
    steps: int | None = Field(
        None, ge=1, description="optimisation steps per edit; None: the model's configuration, else 50"
    )
    lr: float | None = Field(None, gt=0, description="Adam's learning rate; None: the model's configuration, else 5e-3")
    weight_decay: float = Field(0.0, ge=0, description="Adam's weight decay (L2)")
    min_loss: float | None = Field(
        None,
        ge=0,
        description="training ends once the loss is below this; None: the model's configuration, else 0: never",
    )
    target_modules: tuple[str, ...] | None = Field(
        None, min_length=1, description="names of the projections; None: query and value, or where they are fused"
    )
    end_token: bool = Field(False, description="learn the end token after the target too (not in the publication)")


class Adapters(Method, ABC):
    """Changes nothing in the weights: adapters stand beside projections and are trained on one edit after the other.

    The adapters are put in before the first edit and go on from where the last edit left them; each edit has a new
    Adam. Loss: mean cross-entropy over the target's tokens given the edit's prompt. Dropout is on in training only.
    `undo` puts the very modules back that were there.
    """

    family: ClassVar[str] = "adapters"
    Hparams: ClassVar[type[LoraHparams]] = LoraHparams
    published: ClassVar[dict[str, Any]] = {"rank": 8, "alpha": 32.0, "steps": 50, "lr": 5e-3, "min_loss": 0.0}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._replaced: list[tuple[nn.Module, str, nn.Module]] = []  # parent, name in it, the original module
        self._attributes: frozenset[str] = frozenset()

    def targets(self) -> list[str]:
        """Full names of the projections that get an adapter. Raises UserError when there are none."""
        check_one_device(self.lm.model)
        blocks = list(zip(self.lm.structure.block_names, self.lm.structure.blocks, strict=True))
        places = [f"{top}.{name}" for top, block in blocks for name, _ in block.named_modules() if name]
        wanted = [self.hparams.target_modules] if self.hparams.target_modules else [QUERY_VALUE, FUSED]
        for names in wanted:
            found = [place for place in places if place.rpartition(".")[2] in names]
            if found:
                return found
        shown = ", ".join(self.hparams.target_modules or (*QUERY_VALUE[:2], *FUSED[:3]))
        raise UserError(f"{self.name} finds no projection named {shown} in this model; name some in target_modules.")

    @abstractmethod
    def insert(self, targets: list[str], fan_in_fan_out: bool) -> None:
        """Put adapters beside the projections; fan_in_fan_out: their weights are stored [in, out]."""

    def penalty(self) -> Tensor | float:
        """What is added to the loss, on the present adapters."""
        return 0.0

    def edit(self, edits: Sequence[Edit]) -> None:
        """Train the adapters on each edit in turn."""
        for edit in edits:
            if not self._replaced:
                self._attach()
            if self.edits or edit not in self.ahead:
                self._train(edit)
            else:
                with torch.no_grad():
                    for parameter, value in zip(self._adapters(), self.ahead[edit], strict=True):
                        parameter.copy_(value)
            super().edit([edit])

    def _attach(self) -> None:
        """Put adapters in; their random beginning depends on the seed alone."""
        model, targets = self.lm.model, self.targets()
        self._attributes = frozenset(vars(model))
        for name in targets:
            parent, _, child = name.rpartition(".")
            self._replaced.append((model.get_submodule(parent), child, model.get_submodule(name)))
        with self._seeded(self.seed):
            self.insert(targets, not isinstance(self._replaced[0][2], nn.Linear))
        for parameter in self._adapters():
            parameter.data = parameter.data.float()  # in bfloat16 most steps of training would be rounded away
        for parent_module, child, _ in self._replaced:
            getattr(parent_module, child).eval()
        model.requires_grad_(False)

    def _adapters(self) -> list[nn.Parameter]:
        """The adapters' parameters that are trained."""
        return [p for n, p in self.lm.model.named_parameters() if f".{ADAPTER}" in n and "ranknum" not in n]

    def _train(self, edit: Edit) -> None:
        h = self.hparams
        objective = repeated_loss(self.lm, [edit_pair(self.lm, self.protocol, edit, h.end_token)])
        parameters = self._adapters()
        optimiser = torch.optim.Adam(parameters, lr=h.lr, weight_decay=h.weight_decay)
        with self._seeded(self.seed + 1 + len(self.edits)), self._dropout(), torch.enable_grad():
            for parameter in parameters:
                parameter.requires_grad_(True)
            try:
                for _ in range(h.steps):
                    loss = objective() + self.penalty()
                    # Also ends on a loss that is not a number: a collapsed model can't be trained further.
                    if not loss.item() >= h.min_loss:
                        break
                    gradients = torch.autograd.grad(loss, parameters)
                    for parameter, gradient in zip(parameters, gradients, strict=True):
                        parameter.grad = gradient
                    optimiser.step()
            finally:
                for parameter in parameters:
                    parameter.requires_grad_(False)
                    parameter.grad = None

    @contextmanager
    def _seeded(self, seed: int) -> Iterator[None]:
        """Random numbers of a seed's own, leaving the global ones where they were."""
        cuda = [self.lm.device] if self.lm.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            torch.manual_seed(seed)
            yield

    @contextmanager
    def _dropout(self) -> Iterator[None]:
        """The adapters' dropout on, and nothing else of the model in training mode."""
        layers = [
            module
            for parent, child, _ in self._replaced
            for name, module in getattr(parent, child).named_modules()
            if name.startswith("lora_dropout") and isinstance(module, nn.Dropout)
        ]
        for layer in layers:
            layer.train()
        try:
            yield
        finally:
            for layer in layers:
                layer.eval()

    def storage_bytes(self) -> int:
        """The adapters' size; it does not grow with the edits."""
        return sum(p.numel() * p.element_size() for p in self._adapters()) if self._replaced else 0

    def undo(self) -> None:
        """Take the adapters out: the modules are the very ones that were there before."""
        for parent, child, module in self._replaced:
            parent._modules[child] = module
        if self._replaced:
            for name in vars(self.lm.model).keys() - self._attributes:  # what the library notes on the model
                delattr(self.lm.model, name)
        self._replaced, self._attributes = [], frozenset()
        super().undo()


@register
class Lora(Adapters):
    """Changes no weight: adds W x + (alpha / rank) B A x to query and value projections, trained on each edit in turn.

    A begins random, B zero, as in the `peft` library, whose code it runs.
    """

    name: ClassVar[str] = "LoRA"
    paper: ClassVar[str] = "2106.09685"
    fidelity: ClassVar[str] = "through the peft library"

    def insert(self, targets: list[str], fan_in_fan_out: bool) -> None:
        """The library's LoRA."""
        from peft import LoraConfig
        from peft.tuners.lora import LoraModel

        h = self.hparams
        config = LoraConfig(
            r=h.rank,
            lora_alpha=h.alpha,
            lora_dropout=h.dropout,
            target_modules=targets,
            fan_in_fan_out=fan_in_fan_out,
        )
        LoraModel(self.lm.model, config, ADAPTER)

    def foresee(self, edits: Sequence[Edit]) -> dict[Edit, Any]:
        """The adapters that each edit alone leaves, several trained in one batch.

        An edit without a prompt or a target has none, nor has any where a pass calls a projection more than once.
        """
        h, model = self.hparams, self.lm.model
        known = [edit for edit in dict.fromkeys(edits) if edit.prompt.strip() and edit.target.strip()]
        lessons = [spoken(*edit_pair(self.lm, self.protocol, edit, h.end_token)) for edit in known]
        if not lessons:
            return {}
        modules = [model.get_submodule(name) for name in self.targets()]
        order = called_once(self.lm, modules, lessons[0].row.ids)
        if order is None:
            return {}
        self._attach()
        try:
            starts = [parameter.detach().clone() for parameter in self._adapters()]
        finally:
            self.undo()
        settings = Settings(h.alpha / h.rank, h.dropout, h.lr, h.weight_decay, h.steps, h.min_loss)
        size = group_size(sum(start.numel() for start in starts))
        found: dict[Edit, Any] = {}
        for group in groups([len(lesson.row.ids) for lesson in lessons], size):
            each = [start.expand(len(group), *start.shape) for start in starts]
            learnt = train_adapters(
                self.lm, modules, order, [lessons[i] for i in group], list(zip(each[::2], each[1::2], strict=True)),
                [self.seed + 1] * len(group), settings,
            )  # fmt: skip
            found.update((known[i], one.values) for i, one in zip(group, learnt, strict=True))
        return found


class AdaLoraHparams(LoraHparams):
    """Hyperparameters of AdaLoRA; the defaults are those published for Llama-3.1-8B (arXiv 2505.18690)."""

    orthogonality: float = Field(0.5, ge=0, description="weight of the penalty that keeps the factors orthogonal")


@register
class AdaLora(Adapters):
    """Changes no weight: adds adapters in the form of a singular value decomposition, trained on each edit in turn.

    W x + (alpha / rank) P L Q x with L diagonal and zero at first, and a penalty that keeps P and Q orthogonal. As in
    the benchmark of arXiv 2505.18690 the rank stays what it is: the paper's allocation of ranks between layers needs
    one long training with a known end, which a sequence of edits is not.
    """

    name: ClassVar[str] = "AdaLoRA"
    paper: ClassVar[str] = "2303.10512"
    fidelity: ClassVar[str] = "through the peft library"
    Hparams: ClassVar[type[AdaLoraHparams]] = AdaLoraHparams

    def insert(self, targets: list[str], fan_in_fan_out: bool) -> None:
        """The library's AdaLoRA, without the allocation of ranks."""
        from peft import AdaLoraConfig
        from peft.tuners.adalora import AdaLoraModel

        h = self.hparams
        config = AdaLoraConfig(
            init_r=h.rank,
            target_r=h.rank,
            total_step=h.steps + 1,
            lora_alpha=h.alpha,
            lora_dropout=h.dropout,
            target_modules=targets,
            fan_in_fan_out=fan_in_fan_out,
        )
        AdaLoraModel(self.lm.model, config, ADAPTER)

    def penalty(self) -> Tensor | float:
        """The mean over all P and Q of |P^T P - I| and |Q Q^T - I| (Frobenius), weighted."""
        if not self.hparams.orthogonality:
            return 0.0
        distances = []
        for name, p in self.lm.model.named_parameters():
            if name.endswith((f"lora_A.{ADAPTER}", f"lora_B.{ADAPTER}")):
                product = p @ p.T if "lora_A" in name else p.T @ p
                distances.append((product - torch.eye(len(product), device=p.device)).norm())
        return self.hparams.orthogonality * torch.stack(distances).mean()
