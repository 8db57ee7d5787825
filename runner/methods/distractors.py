"""Statements that fill a memory before the first edit, and which of them an edit would contradict."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from runner.errors import UserError, user_path
from runner.types import Edit

ATLAS = "atlas"
WITH_SUPERSEDED = "atlas+superseded"


@dataclass(frozen=True)
class Stated:
    """A statement; with its subject, relation and object where they are known."""

    text: str
    fact: tuple[str, str, str] | None = None


class Distractors:
    """`n` statements from a source, drawn with a seed.

    source: "atlas" (facts of the invented world as they are; beyond its own number, facts of another invented world
    about other names), "atlas+superseded" (the same, and an edit leaves those that it contradicts where they are) or a
    UTF-8 file with one statement per line. Raises UserError for a file that has too few.
    """

    def __init__(self, source: str, n: int, seed: int) -> None:
        self.keeps_superseded = source == WITH_SUPERSEDED
        self.stated = drawn(source, n, seed)
        self.restart()

    @property
    def texts(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(stated.text for stated in self.stated)

    def restart(self) -> None:
        """All of them lie in memory again."""
        self._by_fact: dict[tuple[str, str], list[str]] = {}
        self._free: list[str] = []
        for stated in self.stated:
            if stated.fact is None:
                self._free.append(stated.text)
            else:
                subject, relation, obj = stated.fact
                for name in (subject, obj) if _one_to_one(relation) else (subject,):
                    self._by_fact.setdefault((relation, name), []).append(stated.text)

    def against(self, edit: Edit) -> list[str]:
        """The statements that could contradict an edit; each is named once.

        Of a known fact: those of the edit's relation that name its subject or, where no two subjects share an object,
        its new object (a marriage ends two others). Where the edit's relation isn't known, and of a line of a file:
        those that name the subject. None where superseded statements stay.
        """
        if self.keeps_superseded:
            return []
        if edit.relation is None:
            known = [text for texts in self._by_fact.values() for text in texts if edit.subject in text]
        else:
            known = self._by_fact.pop((edit.relation, edit.subject), [])
            known += self._by_fact.pop((edit.relation, edit.target), [])
        named = [text for text in self._free if edit.subject in text]
        if named:
            self._free = [text for text in self._free if edit.subject not in text]
        return list(dict.fromkeys(known + named))


def _one_to_one(relation: str) -> bool:
    from runner.atlas.world import relations

    return relations()[relation].kind in ("capital", "injective", "pairs", "cycle")


@lru_cache(maxsize=2)
def drawn(source: str, n: int, seed: int) -> tuple[Stated, ...]:
    """`n` different statements of a source in random order; the same arguments give the same ones."""
    rng = random.Random(f"distractors/{seed}")
    if source in (ATLAS, WITH_SUPERSEDED):
        return _from_atlas(n, seed, rng)
    path = user_path(source)
    if not path.is_file():
        known = f"'{ATLAS}', '{WITH_SUPERSEDED}'"
        raise UserError(f"no file of distractors at {source}; give {known} or a text file with one statement a line.")
    lines = list(dict.fromkeys(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()))
    if len(lines) < n:
        raise UserError(f"{source} has {len(lines)} different statements, fewer than the {n} distractors asked for.")
    return tuple(Stated(line) for line in rng.sample(lines, n))


def _from_atlas(n: int, seed: int, rng: random.Random) -> tuple[Stated, ...]:
    from runner.atlas.questions import edit_statement
    from runner.atlas.world import World

    def stated(world: World) -> Iterator[Stated]:
        for fact in world.facts():
            subject, obj = world.name(fact.subject), world.name(fact.object)
            yield Stated(edit_statement(fact.relation, subject, obj), (subject, fact.relation, obj))

    home = World()
    own = list(stated(home))
    rng.shuffle(own)
    if n <= len(own):
        return tuple(own[:n])
    # A statement of another world about a name of this one could be false here.
    taken = {s.fact[0] for s in own if s.fact}
    other = World(seed=home.seed + 1 + seed, size=min(10_000_000, max(10, int(1.3 * (n - len(own))))))
    more = {s.text: s for s in stated(other) if s.fact is not None and s.fact[0] not in taken}
    if len(own) + len(more) < n:
        raise UserError(f"the invented worlds give {len(own) + len(more)} distractors, fewer than the {n} asked for.")
    chosen = own + rng.sample(list(more.values()), n - len(own))
    rng.shuffle(chosen)
    return tuple(chosen)
