"""What a knowledge-editing method is: it edits a loaded model, answers prompts, and undoes itself bit by bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from runner.errors import UserError, did_you_mean
from runner.parts import part
from runner.protocol import Protocol
from runner.types import Edit, Reply

if TYPE_CHECKING:
    from torch import Tensor, nn

    from runner.models.force import Forced
    from runner.models.lm import LanguageModel


class Hparams(BaseModel):
    """Base of every method's hyperparameters: unknown names are errors, values don't change once set."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Context:
    """The final text the model continues for one prompt, and what the method looked up to write it.

    trace: a reasoning trace that stands in the text already, which is the reply's unless the model writes another.
    """

    text: str
    consulted: dict[str, Any] | None = None
    trace: str | None = None


class Method:
    """One knowledge-editing method on one loaded model.

    Subclasses set `name`, `family`, `paper` (arXiv ids, separated by commas) and `Hparams`, and override `edit` and
    `undo` (methods that change the model) or `contexts` (methods that change the prompt). Edits accumulate: each call
    comes on top of those before.
    The invariant: after `undo` the model is bit-identical to the model before the first edit, and the method holds no
    edits. A seeded run repeats itself.
    """

    name: ClassVar[str]
    family: ClassVar[str]
    paper: ClassVar[str] = ""
    Hparams: ClassVar[type[BaseModel]] = Hparams
    # Hyperparameters that may be left open (None), with the published value; the model's own configuration goes first.
    published: ClassVar[Mapping[str, Any]] = {}

    # What a method card says beyond the docstring; empty: what `runner.methods.card` derives or leaves out.
    changes: ClassVar[str] = ""  # what an edit changes; else the docstring's first sentence
    fidelity: ClassVar[str] = ""  # built as published, mended, or where it departs
    extra_memory: ClassVar[str] = ""  # what is kept for each edit, in words
    # Hyperparameters for the small model of the conformance kit, where the defaults are made for large ones.
    sample_hparams: ClassVar[Mapping[str, Any]] = {}

    def __init__(
        self,
        lm: LanguageModel,
        protocol: Protocol,
        hparams: BaseModel | Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.lm = lm
        self.protocol = protocol.bind(lm)
        self.hparams: Any = self._fill(self.validate(hparams))
        self.seed = seed
        self.edits: list[Edit] = []
        self.ahead: Mapping[Edit, Any] = {}  # see `foresee`
        self.expected: Mapping[str, str] = {}  # prompt -> target that will be forced after `answer`; saves a pass

    @classmethod
    def validate(cls, hparams: BaseModel | Mapping[str, Any] | None) -> BaseModel:
        """Hyperparameters of this method (None: the defaults). Raises UserError for a bad name or value."""
        if isinstance(hparams, cls.Hparams):
            return hparams
        if isinstance(hparams, BaseModel):
            hparams = hparams.model_dump()
        try:
            return cls.Hparams.model_validate(dict(hparams or {}))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            known = list(cls.Hparams.model_fields)
            if first["type"] == "extra_forbidden":
                hint = f"known: {', '.join(known) or 'none'}.{did_you_mean(key, known)}"
                raise UserError(f"method {cls.name} has no hyperparameter '{key}'; {hint}") from error
            message = first["msg"].rstrip(".")
            raise UserError(f"method {cls.name}, hyperparameter '{key}': {message}, got {first['input']!r}.") from error

    def configured(self, key: str) -> Any:
        """What the model's own configuration says about a hyperparameter left open, else None."""
        from runner.methods.layers import configured

        return configured(self.lm, self.name, key)

    def _fill(self, hparams: BaseModel) -> BaseModel:
        """Hyperparameters left open, from the model's configuration, else as published."""
        opened = [key for key in self.published if getattr(hparams, key) is None]
        if not opened:
            return hparams
        found = {key: self.configured(key) for key in opened}
        values = {key: self.published[key] if value is None else value for key, value in found.items()}
        return self.validate({**hparams.model_dump(), **values})

    def resolved_hparams(self) -> dict[str, Any]:
        """The hyperparameters in force, JSON-able, with every "auto" or relative value replaced by what it came to."""
        values: dict[str, Any] = self.hparams.model_dump(mode="json")
        return values

    def prepare(self) -> None:
        """What must be there before the first edit, such as statistics of the unedited model. Timed apart."""

    def foresee(self, edits: Sequence[Edit]) -> dict[Edit, Any]:
        """What can be worked out at once for edits that are each the first of a sequence of its own.

        Called on the unedited model, after `prepare`. Whoever runs the sequences puts the result into each one's
        method, as `ahead`; an edit that is not in it is worked out when it is made. Changes nothing.
        """
        return {}

    def edit(self, edits: Sequence[Edit]) -> None:
        """Apply edits, in order, on top of those already there."""
        self.edits.extend(edits)

    @classmethod
    def takes_statements(cls) -> bool:
        """Whether an edit may be a statement alone, without prompt, subject and target.

        By default for methods that state edits before the question. To others such a case is not applicable.
        """
        return cls.contexts is not Method.contexts

    def settle(self) -> None:
        """Make all edits so far effective, for methods that learn them together; timed as editing.

        Called after the last edit of a sequence; `answer` and `force` see to it themselves where it was not.
        """

    def undo(self) -> None:
        """Take all edits back: the model is bit-identical to the model before the first one."""
        self.edits.clear()

    def storage_bytes(self) -> int:
        """Bytes that must be kept, apart from the unedited model, to serve the present edits."""
        return 0

    def contexts(self, prompts: Sequence[str]) -> list[Context]:
        """The text the model continues for each prompt; by default the prompt in the protocol's format."""
        return [Context(self.protocol.render(prompt)) for prompt in prompts]

    def answer(self, prompts: Sequence[str]) -> list[Reply]:
        """Free-running greedy answers with natural stop, within the protocol's budget, in input order."""
        self.settle()
        protocol, contexts = self.protocol, self.contexts(prompts)
        texts = [protocol.opened(c.text) for c in contexts]
        options: dict[str, Any] = {"stop": protocol.stop_characters} if protocol.stop_characters else {}
        if self.expected:
            opened = (text != c.text for text, c in zip(texts, contexts, strict=True))
            options["targets"] = ["" if o else self.expected.get(p, "") for o, p in zip(opened, prompts, strict=True)]
        if self.lm.listener is not None:
            options["told"] = self.lm.listener
        with part("generation"):
            outputs = self.lm.generate(texts, protocol.max_new_tokens, **options)
        replies = []
        for asked, context, output in zip(texts, contexts, outputs, strict=True):
            trace, text = split_trace(output.text, opened=asked.rstrip().endswith("<think>"))
            consulted = context.consulted
            flags = {flag: True for flag in ("truncated", "failed") if getattr(output, flag)}
            if flags:
                consulted = {**(consulted or {}), **flags}
            replies.append(Reply(text, trace or context.trace, consulted, output.tokens))
        return replies

    def force(self, prompts: Sequence[str], targets: Sequence[str]) -> list[Forced]:
        """Teacher forcing: score targets as continuations of the same contexts `answer` uses."""
        self.settle()
        return self.lm.force([c.text for c in self.contexts(prompts)], targets)


def split_trace(output: str, opened: bool = False) -> tuple[str | None, str]:
    """The reasoning trace (None without one) and the answer after it, both without surrounding whitespace.

    opened: the prompt already ended with <think>. A trace that never closes leaves an empty answer.
    """
    head, closed, tail = output.rpartition("</think>")
    if closed:
        return head.replace("<think>", "", 1).strip(), tail.strip()
    before, began, inside = output.partition("<think>")
    if began and not before.strip():
        return inside.strip(), ""
    if opened:
        return output.strip(), ""
    return None, output.strip()


class WeightMethod(Method):
    """A method that changes parameters: each is copied once, before its first change, and put back by undo."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._originals: dict[str, Tensor] = {}
        self.aside: dict[str, Tensor] = {}  # the changed values while they are out of the model

    def touch(self, name: str) -> nn.Parameter:
        """The parameter of this full name, with a copy of its original put aside. Call before changing it."""
        parameter: nn.Parameter = self.lm.model.get_parameter(name)
        if name not in self._originals:
            self._originals[name] = parameter.detach().clone()
        return parameter

    def touched(self) -> tuple[str, ...]:
        """Full names of the parameters changed so far."""
        return tuple(self._originals)

    def original(self, name: str) -> Tensor:
        """The value a parameter had before the first edit."""
        if name in self._originals:
            return self._originals[name]
        parameter: Tensor = self.lm.model.get_parameter(name).detach()
        return parameter

    def changes_weights(self) -> list[str]:
        """Full names of the parameters that edits change, as far as that is known before the first."""
        return list(self.touched())

    def put_aside(self) -> None:
        """Take the changes out of the model, which is then unedited, and keep them in `aside` (name -> value)."""
        import torch

        parameters = {name: self.lm.model.get_parameter(name) for name in self._originals}
        self.aside = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(self._originals[name])

    def take_up(self) -> None:
        """Bring the changes that were put aside back into the model."""
        import torch

        with torch.no_grad():
            for name, value in self.aside.items():
                self.touch(name).copy_(value)
        self.aside = {}

    @classmethod
    def edit_in_step(cls, methods: Sequence[WeightMethod], edits: Sequence[Edit]) -> dict[int, str]:
        """Apply one edit to each of several sequences, whose changes so far have been put aside, as `edit` would.

        By default one after the other; methods that can learn them in one batch do. Returns, by place, why edits could
        not be made (`EditError`).
        """
        from runner.methods.subject import EditError

        failed = {}
        for i, (method, edit) in enumerate(zip(methods, edits, strict=True)):
            method.take_up()
            try:
                method.edit([edit])
            except EditError as error:
                failed[i] = str(error)
            method.put_aside()
        return failed

    def storage_bytes(self) -> int:
        """The size of every changed parameter: a dense change has to be kept whole."""
        return sum(value.numel() * value.element_size() for value in self._originals.values())

    def undo(self) -> None:
        """Put back the copies; the model is bit-identical to the model before the first edit."""
        import torch

        with torch.no_grad():
            for name, value in self._originals.items():
                self.lm.model.get_parameter(name).copy_(value)
        self._originals.clear()
        self.aside = {}
        super().undo()
