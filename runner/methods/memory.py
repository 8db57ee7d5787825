"""A memory of statements: what was edited in, what lay there before, and what may be found of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runner.methods.distractors import Distractors
from runner.methods.index import Index
from runner.parts import part
from runner.types import Edit


@dataclass(frozen=True)
class Found:
    """A retrieved statement. edits: those it states, oldest first; none for a distractor."""

    text: str
    score: float
    edits: tuple[Edit, ...] = ()


class Memory:
    """Statements with the index that finds them. A statement made again is kept once, where it came first.

    supersede: a later edit of the same subject and relation (without a relation: the same prompt) takes the earlier
    one's place. A sentence that states several facts stays until the last of them is superseded.
    distractors: statements that lie there from the start; an edit removes those that could contradict it.
    """

    def __init__(self, index: Index, supersede: bool = False, distractors: Distractors | None = None) -> None:
        self.index, self.supersede, self.distractors = index, supersede, distractors
        self._texts: list[str] = []  # by number in the index; empty where removed
        self._numbers: dict[str, int] = {}  # the statements that can be found
        self._edits: dict[str, dict[Any, Edit]] = {}  # statement -> key of the fact -> edit
        self._stated: dict[Any, str] = {}  # key of the fact -> its statement
        if distractors is not None:
            distractors.restart()
            self._enter(distractors.texts, shared=True)

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def statements(self) -> list[str]:
        """What can be found, in order of adding."""
        return list(self._numbers)

    def add(self, edits: Sequence[Edit]) -> None:
        """Take in the edits' statements; only those not yet there are embedded, all in one batch."""
        for edit in edits:
            if self.distractors is not None:
                for text in self.distractors.against(edit):
                    if not self._edits.get(text):
                        self._drop(text)
            key = self._key(edit)
            earlier = self._stated.get(key)
            if earlier is not None and earlier != edit.statement:
                del self._edits[earlier][key]
                if not self._edits[earlier]:
                    del self._edits[earlier]
                    self._drop(earlier)
            self._stated[key] = edit.statement
            self._edits.setdefault(edit.statement, {})[key] = edit
        self._enter(tuple(e.statement for e in edits if e.statement in self._edits))

    def _key(self, edit: Edit) -> Any:
        if not self.supersede:
            return len(self._stated)
        # Statements without a prompt tell different events: they have nothing to supersede.
        return (edit.prompt or edit.statement,) if edit.relation is None else (edit.subject, edit.relation)

    def _enter(self, texts: tuple[str, ...], shared: bool = False) -> None:
        new = tuple(text for text in dict.fromkeys(texts) if text not in self._numbers)
        for text in new:
            self._numbers[text] = len(self._texts)
            self._texts.append(text)
        if new:
            (self.index.add_shared if shared else self.index.add)(new)

    def _drop(self, text: str) -> None:
        number = self._numbers.pop(text, None)
        if number is not None:
            self._texts[number] = ""
            if number < len(self.index):  # else it was superseded before it was ever entered
                self.index.remove(number, text)

    def search(self, texts: Sequence[str], k: int, threshold: float | None = None) -> list[list[Found]]:
        """For each text at most k statements, best first, none scored below the threshold."""
        if not self._numbers:
            return [[] for _ in texts]
        with part("search"):
            return [
                [Found(self._texts[i], score, tuple(self._edits.get(self._texts[i], {}).values())) for i, score in row]
                for row in self.index.search(texts, k, threshold)
            ]

    def storage_bytes(self) -> int:
        """Bytes of the statements (UTF-8) and of what the index keeps of them."""
        return sum(len(text.encode()) for text in self._numbers) + self.index.storage_bytes()
