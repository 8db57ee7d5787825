"""The invented world: typed entities and functional relations, computed on demand.

Nothing is stored: every name and every fact is a function of (seed, size), so a world of a million facts costs no
more memory than one of ten. Inverses are computed by inverting the permutations the facts are made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from runner.atlas import names

# Entities of each type in a world of about BASE_FACTS facts; other sizes scale them.
BASE_COUNTS = {
    "country": 24, "city": 72, "person": 150, "company": 60, "product": 120, "disease": 40, "drug": 40,
    "statute": 48, "river": 24, "language": 24, "currency": 24,
}  # fmt: skip
LISTS = {
    "profession": ("baker", "painter", "lawyer", "sailor", "teacher", "surgeon", "farmer", "singer", "tailor",
                   "miner", "pilot", "poet", "chemist", "carpenter", "banker", "gardener"),
    "industry": ("shipping", "mining", "farming", "banking", "printing", "weaving", "brewing", "fishing", "energy",
                 "toys", "furniture", "insurance"),
    "symptom": ("fever", "rash", "cough", "dizziness", "fatigue", "headache", "nausea", "tremor", "swelling",
                "hiccups", "insomnia", "numbness"),
    "topic": ("taxes", "fishing", "schools", "roads", "trade", "water", "hunting", "elections", "housing", "mines",
              "forests", "noise"),
    "material": ("copper", "glass", "steel", "amber", "bronze", "ceramic", "cedar", "granite", "leather", "silk",
                 "cork", "wax"),
}  # fmt: skip
CITIES_PER_COUNTRY = 3
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Relation:
    """One relation type and its wordings.

    subject, object: entity types. kind: how the object follows from the subject ("capital", "block", "injective",
    "many", "pairs", "cycle", "inverse"). inverse: name of the relation that asks the other way round. fanout: subjects
    per object for kind "block". Wordings contain {s} (subject) and, in statements, {o} (object) at the end.
    """

    name: str
    domain: str
    subject: str
    object: str
    kind: str
    wh: str
    noun_phrases: tuple[str, ...]
    questions: tuple[str, ...]
    held_out_questions: tuple[str, ...]
    statements: tuple[str, ...]
    held_out_statements: tuple[str, ...]
    inverse: str | None = None
    fanout: int = 1
    other: tuple[str, ...] = ()  # "which other subject shares this object": {s} is left out, {o} is the object


@dataclass(frozen=True)
class Entity:
    """One entity: type and number within its type."""

    kind: str
    number: int


@dataclass(frozen=True)
class Fact:
    """relation(subject) = object."""

    relation: str
    subject: Entity
    object: Entity


@lru_cache(maxsize=1)
def relations() -> Mapping[str, Relation]:
    """All relation types by name, read from phrases.yaml."""
    import yaml

    rows = yaml.safe_load((Path(__file__).parent / "phrases.yaml").read_text(encoding="utf-8"))
    table: dict[str, Relation] = {}
    for name, row in rows.items():
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
        table[name] = Relation(name=name, **fields)
    return table


@dataclass(frozen=True)
class World:
    """A world of about `size` facts. Same seed and size: same world.

    Raises ValueError when size is not between 10 and ten million.
    """

    seed: int = 2041
    size: int = 1900
    _counts: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 10 <= self.size <= 10_000_000:
            raise ValueError(f"a world has 10 to 10,000,000 facts, not {self.size}")
        scale = self.size / sum(BASE_COUNTS[r.subject] for r in relations().values() if r.kind != "inverse")
        counts = {k: max(1, round(n * scale)) for k, n in BASE_COUNTS.items()}
        counts["city"] = counts["country"] * CITIES_PER_COUNTRY
        counts["person"] = max(2, counts["person"] // 2 * 2, counts["city"] + counts["city"] % 2)
        counts["drug"] = max(counts["drug"], counts["disease"])
        object.__setattr__(self, "_counts", counts)

    # -- entities -----------------------------------------------------------------------------------------------

    def count(self, kind: str) -> int:
        """Number of entities of a type."""
        return len(LISTS[kind]) if kind in LISTS else self._counts[kind]

    def entities(self, kind: str) -> Iterator[Entity]:
        """All entities of a type, lazily."""
        return (Entity(kind, i) for i in range(self.count(kind)))

    def stem(self, entity: Entity) -> str:
        """What an entity's names are formed from; in one world no two have the same. Raises KeyError for a list's."""
        offset = 0
        for kind, n in self._counts.items():
            if kind == entity.kind:
                return names.stem(offset + entity.number, self.seed)
            offset += n
        raise KeyError(entity.kind)

    def name(self, entity: Entity) -> str:
        """The entity's full name."""
        if entity.kind in LISTS:
            return LISTS[entity.kind][entity.number]
        return names.name(entity.kind, self.stem(entity), entity.number)

    def alias(self, entity: Entity) -> str | None:
        """The entity's other name, or None."""
        return None if entity.kind in LISTS else names.alias(entity.kind, self.stem(entity), entity.number)

    def known_as(self, entity: Entity) -> tuple[str, ...]:
        """All names of an entity, the full name first."""
        other = self.alias(entity)
        return (self.name(entity), other) if other else (self.name(entity),)

    # -- facts --------------------------------------------------------------------------------------------------

    def object(self, relation: str, subject: Entity) -> Entity | None:
        """relation(subject), or None where it is empty (nobody's mayor, say)."""
        r = relations()[relation]
        i, n_obj = subject.number, self.count(r.object)
        key = self.seed + _code(relation)
        if r.kind == "capital":
            return Entity("city", names.affine_inverse(CITIES_PER_COUNTRY * i, self.count("city"), self._block()))
        if r.kind == "block":
            if relation == "located_in":
                return Entity("country", names.affine(i, self.count("city"), self._block()) // CITIES_PER_COUNTRY)
            return Entity(r.object, names.affine(i, self.count(r.subject), key) // r.fanout % n_obj)
        if r.kind == "injective":
            return Entity(r.object, names.affine(i, n_obj, key) if i < n_obj else i % n_obj)
        if r.kind == "pairs":
            slot = names.affine(i, n_obj, key) ^ 1
            return Entity(r.object, names.affine_inverse(slot, n_obj, key))
        if r.kind == "cycle":
            return Entity(r.object, names.affine_inverse((names.affine(i, n_obj, key) + 1) % n_obj, n_obj, key))
        if r.kind == "many":
            return Entity(r.object, names.affine(names.affine(i, 1_000_003, key), 1_000_003, key + 1) % n_obj)
        found = self.subjects(r.inverse or "", subject)  # kind "inverse"
        return found[0] if found else None

    def _block(self) -> int:
        return self.seed + _code("located_in")

    def subjects(self, relation: str, obj: Entity) -> list[Entity]:
        """All subjects with relation(subject) = obj, for relations whose inverse can be computed.

        Raises ValueError for relations of kind "many", which would need a scan of the whole world.
        """
        r = relations()[relation]
        key, n_subj = self.seed + _code(relation), self.count(r.subject)
        if r.kind == "capital":
            slot = names.affine(obj.number, self.count("city"), self._block())
            return [] if slot % CITIES_PER_COUNTRY else [Entity("country", slot // CITIES_PER_COUNTRY)]
        if r.kind == "block":
            fanout = CITIES_PER_COUNTRY if relation == "located_in" else r.fanout
            key = self._block() if relation == "located_in" else key
            # The object number wraps around when there are more blocks than objects.
            blocks = range(obj.number, -(-n_subj // fanout), self.count(r.object))
            slots = [s for b in blocks for s in range(b * fanout, (b + 1) * fanout) if s < n_subj]
            return [Entity(r.subject, names.affine_inverse(s, n_subj, key)) for s in slots]
        if r.kind == "injective":
            i = names.affine_inverse(obj.number, self.count(r.object), key)
            return [Entity(r.subject, i)] if i < n_subj else []
        if r.kind == "cycle":
            slot = (names.affine(obj.number, n_subj, key) - 1) % n_subj
            return [Entity(r.subject, names.affine_inverse(slot, n_subj, key))]
        if r.kind == "pairs":
            found = self.object(relation, obj)
            return [found] if found else []
        raise ValueError(f"the subjects of '{relation}' can't be computed without a scan")

    def facts(self, include_inverse: bool = False) -> Iterator[Fact]:
        """All facts, lazily: forward relations, and the inverse ones on request."""
        for r in relations().values():
            if r.kind == "inverse" and not include_inverse:
                continue
            for subject in self.entities(r.subject):
                obj = self.object(r.name, subject)
                if obj is not None:
                    yield Fact(r.name, subject, obj)

    def relations_of(self, kind: str, include_inverse: bool = False) -> list[Relation]:
        """The relations whose subject is of this type."""
        return [r for r in relations().values() if r.subject == kind and (include_inverse or r.kind != "inverse")]


def _code(relation: str) -> int:
    """A stable number for a relation name (Python's hash is salted)."""
    import zlib

    return zlib.crc32(relation.encode()) % 1_000_000
