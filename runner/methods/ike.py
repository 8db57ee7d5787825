"""IKE: in-context knowledge editing, the new facts stated after demonstrations (arXiv 2305.12740)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field, field_validator

from runner.methods.base import Context
from runner.methods.demonstrations import KINDS, Demonstration, training_demonstrations
from runner.methods.ice import ICE, ICEHparams
from runner.methods.memory import Memory
from runner.methods.registry import register
from runner.methods.retrieval import new_index, resolve_retriever
from runner.parts import part
from runner.types import Edit

MOST_DEMONSTRATION_TOKENS = 2048
SPARE = 4  # retrieved for each one shown, since those that speak of the question's own subject are left out


class IKEHparams(ICEHparams):
    """Hyperparameters of IKE: those of ICE, and its demonstrations."""

    k: int = Field(16, ge=0, description="Demonstrations shown, fewer where they don't fit.")
    ratio: tuple[int, int, int] = Field(
        (1, 3, 4), description="Shares of copied, updated and retained demonstrations, as published."
    )
    retriever: str = Field(
        "auto",
        description="What finds demonstrations and the fact nearest to the question: as for SCR.",
    )
    training: str = Field("atlas", description="Data set whose training split gives the demonstrations.")
    training_path: str | None = Field(None, description="Your copy of that data set, where it is read from a file.")
    training_split: str | None = Field("train", description="Its split; never the one that is tested.")
    training_cases: int = Field(200, ge=1, description="Cases of the split that demonstrations are made of.")
    demonstration_tokens: int | None = Field(
        None, ge=1, description="Most tokens of demonstrations; None: 3/8 of the model's context, at most 2048."
    )

    @field_validator("ratio")
    @classmethod
    def _some(cls, ratio: tuple[int, int, int]) -> tuple[int, int, int]:
        if min(ratio) < 0 or sum(ratio) == 0:
            raise ValueError("three shares that aren't negative, at least one above 0")
        return ratio


@register
class IKE(ICE):
    """All edits so far are stated before the question, after demonstrations of how new facts are to be used.

    Demonstrations of three kinds (the fact is asked for in its own words; in others; something else is asked for and
    stays as it was) are made of a training split. Those nearest to the question and the fact nearest to it are shown,
    the nearest last; none that speaks of a subject which they name, or asks the same question. `consulted` counts
    those shown of each kind and those that didn't fit the model's window.
    """

    name: ClassVar[str] = "IKE"
    family: ClassVar[str] = "in context"
    paper: ClassVar[str] = "2305.12740"
    Hparams: ClassVar[type[IKEHparams]] = IKEHparams
    fidelity: ClassVar[str] = "procedure as published; own wording, one fact or many"
    extra_memory: ClassVar[str] = "one statement and its embedding; the demonstrations once"
    sample_hparams: ClassVar[Mapping[str, Any]] = {"k": 4, "training_cases": 20, "demonstration_tokens": 200}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        h = self.hparams
        self.retriever = resolve_retriever(h.retriever)
        self._pool = training_demonstrations(h.training, h.training_path, h.training_split, h.training_cases)
        self._facts = Memory(self._new_index())
        self._indices: dict[str, Any] = {}
        self._shown: dict[str, list[Demonstration]] = {}

    def _new_index(self) -> Any:
        return new_index(self.retriever, self.lm.device.type)

    @property
    def demonstration_tokens(self) -> int:
        """The token budget of the demonstrations."""
        if self.hparams.demonstration_tokens is not None:
            return int(self.hparams.demonstration_tokens)
        limit = self.lm.context_limit
        return MOST_DEMONSTRATION_TOKENS if limit is None else min(limit * 3 // 8, MOST_DEMONSTRATION_TOKENS)

    def resolved_hparams(self) -> dict[str, Any]:
        """The hyperparameters with the budgets in force and the retriever "auto" came to."""
        found = {"retriever": self.retriever, "demonstration_tokens": self.demonstration_tokens}
        return {**super().resolved_hparams(), **found}

    def prepare(self) -> None:
        """Embed the demonstrations, once per process."""
        super().prepare()
        for kind, demonstrations in self._pool.items():
            if kind not in self._indices:
                self._indices[kind] = self._new_index()
                self._indices[kind].add_shared(tuple(d.text for d in demonstrations))

    def edit(self, edits: Sequence[Edit]) -> None:
        """Remember the statements."""
        self._facts.add(edits)
        self._shown.clear()
        super().edit(edits)

    def undo(self) -> None:
        """Forget all statements."""
        self._facts = Memory(self._new_index())
        self._shown.clear()
        super().undo()

    def storage_bytes(self) -> int:
        """The statements with their embeddings, and the demonstrations with theirs; nothing before the first edit."""
        if not self.edits:
            return 0
        self.prepare()
        texts = sum(len((d.text + d.answer).encode()) for kind in self._pool.values() for d in kind)
        return self._facts.storage_bytes() + texts + sum(index.storage_bytes() for index in self._indices.values())

    def contexts(self, prompts: Sequence[str]) -> list[Context]:
        """Each prompt after its demonstrations and the newest statements that fit; bare before the first edit."""
        plain = super().contexts(prompts)
        if not len(self._facts):
            return plain
        self._find([prompt for prompt in dict.fromkeys(prompts) if prompt not in self._shown])
        return [self._with(context, self._shown[prompt]) for prompt, context in zip(prompts, plain, strict=True)]

    def _with(self, context: Context, found: Sequence[Demonstration]) -> Context:
        """The context behind the demonstrations that fit, of which `found` has the nearest first."""
        # In a chat, each demonstration is a turn that ends as the model's own do.
        end = str(self.lm.tokenizer.eos_token or "") if self.protocol.prompt_format == "chat" else "\n\n"
        texts = [f"{self.protocol.render(d.question, [d.fact])} {d.answer}{end}" for d in found]
        left, shown = self.demonstration_tokens, 0
        for ids in self.lm.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []:
            left -= len(ids)
            if left < 0:
                break
            shown += 1
        counts = {kind: sum(d.kind == kind for d in found[:shown]) for kind in KINDS}
        consulted = {
            **(context.consulted or {}),
            "demonstrations": counts,
            "demonstrations_dropped": len(found) - shown,
        }
        return Context("".join(reversed(texts[:shown])) + context.text, consulted)

    def _find(self, prompts: Sequence[str]) -> None:
        """The demonstrations for each new prompt, nearest first."""
        self.prepare()
        nearest = self._facts.search(prompts, 1)
        queries = [f"{row[0].text} {prompt}" for row, prompt in zip(nearest, prompts, strict=True)]
        found: list[list[tuple[float, Demonstration]]] = [[] for _ in prompts]
        for kind, wanted in zip(KINDS, shares(self.hparams.k, self.hparams.ratio), strict=True):
            with part("search"):
                rows = self._indices[kind].search(queries, wanted * SPARE) if wanted else [[] for _ in queries]
            for n, row in enumerate(rows):
                fitting = [(score, self._pool[kind][i]) for i, score in row]
                named = queries[n].casefold()
                found[n] += [
                    (score, d) for score, d in fitting if d.subject.casefold() not in named and d.question != prompts[n]
                ][:wanted]
        for prompt, demonstrations in zip(prompts, found, strict=True):
            self._shown[prompt] = [d for _, d in sorted(demonstrations, key=lambda pair: -pair[0])]


def shares(k: int, ratio: Sequence[int]) -> list[int]:
    """`k` split in whole numbers by a ratio; what rounding leaves goes to the largest remainders, later ones first."""
    exact = [k * part / sum(ratio) for part in ratio]
    counts = [int(value) for value in exact]
    order = sorted(range(len(ratio)), key=lambda i: (-(exact[i] - counts[i]), -i))
    for i in order[: k - sum(counts)]:
        counts[i] += 1
    return counts
