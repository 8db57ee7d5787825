"""Cases of new knowledge: facts about entities that the published world doesn't have, so the model has no old answer.

They are the facts of another, larger invented world as they are there. No name is formed like one of the published
world, and all facts hold together, so any number of cases can be edited in one sequence.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice

from runner.atlas import questions
from runner.atlas.cases import Key, direct_probes, domain, make_edit
from runner.atlas.world import BASE_COUNTS, LISTS, Entity, World, relations
from runner.errors import UserError
from runner.types import LOCALITY, Case, Edit, Probe

N_CASES = 10_000
SIZE = 15_000  # facts of the other world
FIRST_SEED = 70_410  # of the other world; the published one and its distractors have others
ALL, SAMPLED = "test", "sampled"
EVERY = 10


def build_new_cases(seed: int = 0, split: str = ALL) -> list[Case]:
    """N_CASES cases of one new fact each, with probes that ask for it and for facts of the published world.

    split: "test", or "sampled": the same cases, of which only every EVERY-th is asked.
    The same arguments give the same cases. Raises UserError for an unknown split.
    """
    if split not in (ALL, SAMPLED):
        raise UserError(f"the new facts have no split '{split}'; choose {ALL} or {SAMPLED}.")
    return list(islice(_cases(seed, split), N_CASES))


def _cases(seed: int, split: str) -> Iterator[Case]:
    home, world = World(), World(FIRST_SEED + seed, SIZE)
    for i, key in enumerate(new_facts(world, home, seed)):
        target = world.object(*key)
        assert target is not None
        edit = make_edit(world, key, target)
        edit = Edit(edit.subject, edit.prompt, edit.target, None, edit.statement, edit.relation)
        rng = random.Random(f"new/{seed}/{i}")
        probes = (*direct_probes(world, key, target, rng), *_locality(home, rng, key[0]))
        asked = split == ALL or i % EVERY == 0
        yield Case(f"atlas-new-{seed}-{i:05d}", (edit,), probes if asked else (), domain(key))


def new_facts(world: World, home: World, seed: int) -> list[Key]:
    """The facts of `world` in random order, without those that name an entity as one of `home` is named."""
    taken = {home.stem(entity) for kind in BASE_COUNTS for entity in home.entities(kind)}

    def is_new(entity: Entity) -> bool:
        return entity.kind in LISTS or world.stem(entity) not in taken

    keys = [
        (fact.relation, fact.subject)
        for fact in world.facts()
        if is_new(fact.subject)
        and is_new(fact.object)
        # Of a marriage one side: the other is what the question for the inverse asks.
        and (relations()[fact.relation].kind != "pairs" or fact.subject.number < fact.object.number)
    ]
    random.Random(f"new/{seed}").shuffle(keys)
    return keys


def _locality(home: World, rng: random.Random, relation: str) -> Iterator[Probe]:
    """One known fact of the same relation and one of another."""
    others = [r.name for r in relations().values() if r.kind != "inverse" and r.name != relation]
    for kind, name in ((f"{LOCALITY}/near", relation), (f"{LOCALITY}/far", rng.choice(others))):
        subjects = relations()[name].subject
        drawn = (Entity(subjects, rng.randrange(home.count(subjects))) for _ in range(50))
        known = next(((e, obj) for e in drawn if (obj := home.object(name, e)) is not None), None)
        if known is not None:
            yield Probe(kind, questions.edit_prompt(name, home.name(known[0])), (home.known_as(known[1]),))
