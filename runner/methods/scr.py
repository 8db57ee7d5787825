"""SCR: selective contextual reasoning: retrieve, confirm with the same model, answer (arXiv 2503.05212, 2505.18690)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import Field

from runner.methods.base import Context, Hparams, Method, split_trace
from runner.methods.distractors import Distractors
from runner.methods.index import Index, words
from runner.methods.memory import Memory
from runner.methods.registry import register
from runner.methods.retrieval import new_index, resolve_retriever
from runner.parts import part
from runner.types import Edit

# A number that opens the reply, possibly after words such as "Fact", "The number is" or "Answer:".
LEADING = re.compile(
    r"^[\W_]*(?:(?:the|fact|facts|number|no|nr|answer|is|relevant|needed)\b[\s.:#*]*)*[\[(#]?\s*(\d+)(?=[\]).:,;*\s]|$)",
    re.I,
)
BRACKETED = re.compile(r"\[(\d+)\]")
REFUSAL = re.compile(r"^\W*(none|neither|nothing|unknown|no|not)\b", re.I)
LATE_REFUSAL = re.compile(r"\b(none|irrelevant|not relevant|unrelated|no (?:relevant )?(?:fact|information))\b", re.I)


class SCRHparams(Hparams):
    """Hyperparameters of SCR; the defaults follow the publication except for the retriever, which must be at hand."""

    k: int = Field(5, ge=1, description="Statements retrieved per question.")
    retriever: str = Field(
        "auto",
        description="auto (contriever where the local Hub cache has it, else minilm where installed, else bm25), "
        "contriever, minilm, bm25, or a sentence-transformers folder or Hub id.",
    )
    threshold: float | None = Field(
        None,
        description="Statements scored below this are not retrieved; None: no limit. The scale is the retriever's.",
    )
    precision: Literal["float32", "float16"] = Field("float32", description="Number format of stored embeddings.")
    confirm: bool = Field(
        True, description="Ask the model which fact is needed; False: state all retrieved, best first."
    )
    one_by_one: bool = Field(
        False,
        description="Confirm the statements one at a time, best first, and take the first that is; False: all at once.",
    )
    confirm_tokens: int = Field(50, ge=1, description="Token budget of one confirmation.")
    supersede: bool = Field(
        False,
        description="A later edit of the same subject and relation, or the same prompt, replaces the earlier one.",
    )
    distractors: int = Field(0, ge=0, description="Statements that lie in memory before the first edit.")
    distractors_from: str = Field(
        "atlas",
        description="Where distractors are drawn from: atlas, atlas+superseded (an edit leaves the statement that it "
        "contradicts in memory; else it takes it out), or a text file with one statement a line.",
    )


@dataclass(frozen=True)
class Confirmation:
    """What a confirmation came to: the number of the confirmed fact (from 1) or None, the model's words, and why."""

    confirmed: int | None
    reply: str
    why: str


@register
class SCR(Method):
    """The model's weights stay as they are; edits are statements in a memory.

    For each question the k nearest statements are retrieved, the model itself is asked which one is needed, and that
    one alone is stated before the question; without one the bare question is asked. `consulted` holds the retrieved
    statements with their scores, the confirmed one (its number in that list, from 1, or None), the model's words, and
    why it was confirmed or refused.
    """

    name: ClassVar[str] = "SCR"
    family: ClassVar[str] = "selective context"
    paper: ClassVar[str] = "2503.05212"
    changes: ClassVar[str] = "the prompt: the one fact that is needed stands before the question"
    fidelity: ClassVar[str] = (
        "the published procedure, with prompts of our own; a confirmation must name a retrieved fact"
    )
    extra_memory: ClassVar[str] = "one sentence and what the retriever keeps of it"
    Hparams: ClassVar[type[SCRHparams]] = SCRHparams

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        h = self.hparams
        self.retriever = resolve_retriever(h.retriever)
        # Made here: a retriever or a file that is missing shows before any work, and no question pays for loading it.
        self._distractors = Distractors(h.distractors_from, h.distractors, self.seed) if h.distractors else None
        self._new_index()
        self._memory: Memory | None = None
        # Free and forced answers use the same contexts, so a question is confirmed once until the memory changes.
        self._contexts: dict[str, Context] = {}

    def resolved_hparams(self) -> dict[str, Any]:
        """The hyperparameters with the retriever "auto" came to."""
        return {**super().resolved_hparams(), "retriever": self.retriever}

    @property
    def memory(self) -> Memory:
        """What can be retrieved; before the first edit the distractors."""
        if self._memory is None:
            self._memory = Memory(self._new_index(), self.hparams.supersede, self._distractors)
        return self._memory

    def _new_index(self) -> Index:
        return new_index(self.retriever, self.lm.device.type, self.hparams.precision)

    def prepare(self) -> None:
        """Put the distractors in memory."""
        super().prepare()
        _ = self.memory

    def edit(self, edits: Sequence[Edit]) -> None:
        """Add the statements to the memory."""
        self.memory.add(edits)
        self._contexts.clear()
        super().edit(edits)

    def undo(self) -> None:
        """Empty the memory, down to the distractors."""
        self._memory = None
        self._contexts.clear()
        super().undo()

    def storage_bytes(self) -> int:
        """The statements in memory and their embeddings or postings; nothing before the first edit."""
        return self.memory.storage_bytes() if self.edits else 0

    def contexts(self, prompts: Sequence[str]) -> list[Context]:
        """Retrieve for all prompts at once, confirm all in one batch, and state each one's confirmed fact."""
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._contexts]
        if new:
            self._contexts.update(zip(new, self._select(new), strict=True))
        return [self._contexts[prompt] for prompt in prompts]

    def _select(self, prompts: Sequence[str]) -> list[Context]:
        return [
            Context(self.protocol.render(prompt, stated), consulted)
            for prompt, (stated, consulted) in zip(prompts, self.select(prompts), strict=True)
        ]

    def select(self, prompts: Sequence[str]) -> list[tuple[list[str], dict[str, Any]]]:
        """For each prompt the statements to put before it, and how they were chosen."""
        found = self.memory.search(prompts, self.hparams.k, self.hparams.threshold)
        facts = [[hit.text for hit in row] for row in found]
        results = self._confirm(prompts, facts)
        selected = []
        for row, listed, result in zip(found, facts, results, strict=True):
            consulted: dict[str, Any] = {
                "retrieved": listed,
                "scores": [round(hit.score, 4) for hit in row],
                "confirmed": result.confirmed,
                "confirm_text": result.reply,
                "why": result.why,
            }
            stated = [listed[result.confirmed - 1]] if result.confirmed else []
            selected.append((stated if self.hparams.confirm else listed, consulted))
        return selected

    def _confirm(self, prompts: Sequence[str], facts: Sequence[list[str]]) -> list[Confirmation]:
        if not len(self.memory):
            return [Confirmation(None, "", "nothing in memory")] * len(prompts)
        if not self.hparams.confirm:
            return [Confirmation(None, "", "retrieved statements are stated unconfirmed")] * len(prompts)
        if self.hparams.one_by_one:
            return self._confirm_each(prompts, facts)
        replies = self._ask(prompts, facts)
        return [read(reply, listed) for reply, listed in zip(replies, facts, strict=True)]

    def _ask(self, prompts: Sequence[str], facts: Sequence[list[str]]) -> list[str]:
        """The model's reply to each confirmation; empty where there is nothing to confirm."""
        asked = [n for n, listed in enumerate(facts) if listed]
        texts = [self.protocol.confirm(prompts[n], facts[n]) for n in asked]
        replies = [""] * len(prompts)
        if texts:
            with part("confirmation"):
                outputs = self.lm.generate(texts, self.hparams.confirm_tokens)
            for n, output in zip(asked, outputs, strict=True):
                replies[n] = output.text
        return replies

    def _confirm_each(self, prompts: Sequence[str], facts: Sequence[list[str]]) -> list[Confirmation]:
        """The first statement that the model confirms on its own, or all its refusals, for each prompt.

        Every round asks all prompts that are still open about their next statement, in one batch.
        """
        results = [read("", []) for _ in prompts]
        open_ = list(range(len(prompts)))
        for rank in range(self.hparams.k):
            open_ = [n for n in open_ if rank < len(facts[n])]
            if not open_:
                break
            replies = self._ask([prompts[n] for n in open_], [[facts[n][rank]] for n in open_])
            for n, reply in zip(open_, replies, strict=True):
                alone = read(reply, [facts[n][rank]])
                said = f"{results[n].reply}\n{reply}".strip() if rank else reply
                results[n] = Confirmation(rank + 1 if alone.confirmed else None, said, alone.why)
            open_ = [n for n in open_ if results[n].confirmed is None]
        return results


def read(reply: str, facts: Sequence[str]) -> Confirmation:
    """A reply to a confirmation of `facts`, with why it confirms one of them or none."""
    if not facts:
        return Confirmation(None, reply, "nothing reached the threshold")
    confirmed = parse_confirmation(reply, facts)
    if confirmed is not None:
        return Confirmation(confirmed, reply, "the model named it")
    _, text = split_trace(reply)
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    refused = REFUSAL.match(line) or LATE_REFUSAL.search(line)
    return Confirmation(None, reply, "the model refused" if refused else "the reply names no retrieved statement")


def parse_confirmation(reply: str, facts: Sequence[str]) -> int | None:
    """Which fact a confirmation names: its number from 1, or None for no knowledge.

    Only the first line after a reasoning trace counts. In this order: a number at its beginning; a refusal at its
    beginning ("none", "no", "neither" …); a number in square brackets; a fact repeated whole, or a piece of at least
    four words that stands in exactly one fact. Anything else is no knowledge, a number out of range included. The
    publication takes any other output as knowledge; here a model that was asked for a number and made up a fact is not
    believed.
    """
    _, text = split_trace(reply)
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    leading = LEADING.match(line)
    if leading and 1 <= int(leading.group(1)) <= len(facts):
        return int(leading.group(1))
    if REFUSAL.match(line):
        return None
    bracketed = BRACKETED.search(line)
    if bracketed and 1 <= int(bracketed.group(1)) <= len(facts):
        return int(bracketed.group(1))
    said = " ".join(words(line))
    repeated = [i for i, fact in enumerate(facts, 1) if " ".join(words(fact)) in said]
    if repeated:
        return repeated[0]
    if leading or bracketed or LATE_REFUSAL.search(line) or len(words(line)) < 4:
        return None
    pieces = [i for i, fact in enumerate(facts, 1) if said in " ".join(words(fact))]
    return pieces[0] if len(pieces) == 1 else None
