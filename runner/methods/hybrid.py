"""X+SCR: a method that changes the model and one that chooses the prompt, together, for any two of those kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, Field, create_model

from runner.errors import UserError, did_you_mean
from runner.methods.base import Context, Hparams, Method
from runner.types import Edit, Reply

if TYPE_CHECKING:
    from runner.models.force import Forced

PATTERN = "X+SCR"
_composed: dict[tuple[type[Method], type[Method]], type[Hybrid]] = {}
PARTS = "X: any method that changes the model; in SCR's place any other that chooses the prompt"


class Hybrid(Method):
    """Both methods get every edit: one changes the model, the other chooses what stands before the question.

    The changed model confirms what is retrieved and answers. An edit that the first refuses reaches neither.
    Hyperparameters are nested by the parts' names, e.g. {"ROME": {"layer": 2}, "SCR": {"k": 3}}.
    """

    family: ClassVar[str] = "hybrid"
    extra_memory: ClassVar[str] = "what both parts keep"
    parts: ClassVar[tuple[type[Method], type[Method]]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        editor, chooser = self.parts
        self.editor = editor(self.lm, self.protocol, getattr(self.hparams, editor.name), self.seed)
        self.chooser = chooser(self.lm, self.protocol, getattr(self.hparams, chooser.name), self.seed)
        # Whatever the editor does to answer, it does on the chooser's texts.
        self.editor.contexts = self.chooser.contexts  # type: ignore[method-assign]

    @classmethod
    def validate(cls, hparams: BaseModel | Mapping[str, Any] | None) -> BaseModel:
        """Each part's hyperparameters as its own class checks them. Raises UserError for a bad name or value."""
        if isinstance(hparams, cls.Hparams):
            return hparams
        given = hparams.model_dump() if isinstance(hparams, BaseModel) else dict(hparams or {})
        by_name = {part.name.lower(): part for part in cls.parts}
        values: dict[str, BaseModel] = {}
        for key, value in given.items():
            part = by_name.get(key.lower())
            if part is None:
                known = [part.name for part in cls.parts]
                raise UserError(
                    f"method {cls.name} takes hyperparameters nested under {' and '.join(known)}, not '{key}'."
                    f"{did_you_mean(key, known)}"
                )
            if not isinstance(value, (Mapping, BaseModel)) and value is not None:
                raise UserError(f"method {cls.name}: '{key}' holds the hyperparameters of {part.name}, not {value!r}.")
            values[part.name] = part.validate(value)
        return cls.Hparams(**{part.name: values.get(part.name, part.validate(None)) for part in cls.parts})

    def resolved_hparams(self) -> dict[str, Any]:
        """Both parts' hyperparameters in force."""
        return {part.name: part.resolved_hparams() for part in (self.editor, self.chooser)}

    def prepare(self) -> None:
        """Both parts."""
        self.editor.prepare()
        self.chooser.prepare()

    def edit(self, edits: Sequence[Edit]) -> None:
        """Both parts; what the first can't edit, the second doesn't learn."""
        self.editor.edit(edits)
        self.chooser.edit(edits)
        super().edit(edits)

    def settle(self) -> None:
        """Both parts."""
        self.editor.settle()
        self.chooser.settle()

    def undo(self) -> None:
        """Both parts."""
        self.chooser.undo()
        self.editor.undo()
        super().undo()

    def storage_bytes(self) -> int:
        """What both parts keep."""
        return self.editor.storage_bytes() + self.chooser.storage_bytes()

    @classmethod
    def takes_statements(cls) -> bool:
        """Never: one part changes the model and needs a prompt."""
        return False

    def contexts(self, prompts: Sequence[str]) -> list[Context]:
        """The second part's, chosen with the model that the first has changed."""
        return self.chooser.contexts(prompts)

    def answer(self, prompts: Sequence[str]) -> list[Reply]:
        """The changed model's answers on those texts."""
        self.settle()
        speaker = self._speaker("answer")
        speaker.expected = self.expected
        return speaker.answer(prompts)

    def force(self, prompts: Sequence[str], targets: Sequence[str]) -> list[Forced]:
        """The changed model's scores on those texts."""
        self.settle()
        return self._speaker("force").force(prompts, targets)

    def _speaker(self, what: str) -> Method:
        """The part whose own way to answer counts: the second's where it has one, else the first's."""
        return self.chooser if overrides(type(self.chooser), what) else self.editor


def overrides(method: type[Method], what: str) -> bool:
    """Whether a method has its own way for one of Method's functions."""
    return getattr(method, what) is not getattr(Method, what)


def compose(name: str) -> type[Hybrid]:
    """The class of "X+Y". Raises UserError where X doesn't change the model or Y doesn't choose the prompt."""
    from runner.methods import registry

    first, _, second = name.rpartition("+")
    parts = registry.get(first.strip()), registry.get(second.strip())
    if parts not in _composed:
        _composed[parts] = _compose(*parts)
    return _composed[parts]


def _compose(editor: type[Method], chooser: type[Method]) -> type[Hybrid]:
    name = f"{editor.name}+{chooser.name}"
    if issubclass(editor, Hybrid) or overrides(editor, "contexts") or editor.name == "none":
        raise UserError(f"'{name}' can't be: {editor.name} doesn't change the model; {PARTS}.")
    if not overrides(chooser, "contexts") or issubclass(chooser, Hybrid):
        raise UserError(f"'{name}' can't be: {chooser.name} doesn't choose the prompt; {PARTS}.")
    for what in ("answer", "force"):
        if overrides(editor, what) and overrides(chooser, what):
            raise UserError(f"'{name}' can't be: both parts have their own way to {what}.")
    fields: dict[str, Any] = {
        part.name: (part.Hparams, Field(default_factory=part.Hparams, description=f"Hyperparameters of {part.name}."))
        for part in (editor, chooser)
    }
    papers = [paper for paper in (editor.paper, chooser.paper) if paper]
    body = {
        "__doc__": f"{editor.name} changes the model and {chooser.name} chooses the prompt. {Hybrid.__doc__}",
        "__module__": __name__,
        "name": name,
        "paper": ", ".join(papers),
        "parts": (editor, chooser),
        "version": "+".join(str(getattr(part, "version", "1")) for part in (editor, chooser)),
        "changes": f"what {editor.name} and {chooser.name} change",
        "sample_hparams": {part.name: dict(part.sample_hparams) for part in (editor, chooser)},
        "Hparams": create_model(f"{name}Hparams", __base__=Hparams, **fields),
    }
    return type(name, (Hybrid,), body)
