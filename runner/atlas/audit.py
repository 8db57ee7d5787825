"""Cases that ask everything which follows from one edit: other names, the other way round, chains of up to three facts.

The edits are drawn as those of `runner.atlas.cases`. A chain has two or three different facts, the edited one among
them at any place, and passes no other fact that an edit of the set changes: its answer is computed from the graph.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from runner.atlas import questions
from runner.atlas.cases import Key, Plan, domain, draw_edits, locality_probes, make_edit, split_facts
from runner.atlas.world import Entity, Relation, World, relations
from runner.types import GENERALIZATION, PORTABILITY, RELIABILITY, Case, Probe

N_CASES = 100
MOST = 40  # portability probes of a case
LENGTHS = (2, 3)


@dataclass(frozen=True)
class Chain:
    """A chain of facts: its relations in order, where it starts, and where it ends once the edit is made."""

    path: tuple[Relation, ...]
    start: Entity
    end: Entity


def build_audit(seed: int = 0, split: str = "test", world: World | None = None) -> list[Case]:
    """N_CASES cases of one edit, each with at most MOST probes of portability, chosen with the seed.

    The same arguments give the same cases. Raises UserError for an unknown split.
    """
    world = world or World()
    plan = draw_edits(world, random.Random(f"cases/{seed}/{split}"), split_facts(world, seed, split), N_CASES)
    before = inverted(world)
    return [
        Case(
            f"atlas-audit-{seed}-{split}-{i:04d}",
            (make_edit(world, key, target),),
            tuple(_probes(world, random.Random(f"audit/{seed}/{split}/{i}"), plan, key, target, before)),
            domain(key),
        )
        for i, (key, target) in enumerate(plan.edits.items())
    ]


def inverted(world: World) -> Mapping[Key, Sequence[Entity]]:
    """Relation and object -> all subjects."""
    table: dict[Key, list[Entity]] = defaultdict(list)
    for fact in world.facts():
        table[fact.relation, fact.object].append(fact.subject)
    return table


def chains_through(
    world: World, plan: Plan, key: Key, target: Entity, before: Mapping[Key, Sequence[Entity]]
) -> Iterator[Chain]:
    """Every chain of LENGTHS facts that passes the edited fact once and no other changed fact."""
    relation, subject = key
    for length in LENGTHS:
        for path in questions.chains(length, include_inverse=False):
            for place, r in enumerate(path):
                if r.name != relation:
                    continue
                end = _end(world, plan, path[place + 1 :], target)
                if end is not None:
                    starts = _starts(plan, path[:place], subject, before)
                    yield from (Chain(path, start, end) for start in starts)


def _end(world: World, plan: Plan, path: Sequence[Relation], start: Entity) -> Entity | None:
    at: Entity | None = start
    for r in path:
        if at is None or (r.name, at) in plan.touched:
            return None
        at = world.object(r.name, at)
    return at


def _starts(
    plan: Plan, path: Sequence[Relation], subject: Entity, before: Mapping[Key, Sequence[Entity]]
) -> list[Entity]:
    """The entities from which a chain of unchanged facts leads to the subject."""
    found = [subject]
    for r in reversed(path):
        found = [z for at in found for z in before.get((r.name, at), ()) if (r.name, z) not in plan.touched]
    return found


def _probes(
    world: World, rng: random.Random, plan: Plan, key: Key, target: Entity, before: Mapping[Key, Sequence[Entity]]
) -> Iterator[Probe]:
    relation, subject = key
    r, name, answers = relations()[relation], world.name(subject), (world.known_as(target),)
    yield Probe(RELIABILITY, questions.edit_prompt(relation, name), answers)
    for template in r.held_out_questions:
        yield Probe(GENERALIZATION, questions.ask(template, name), answers)
    left = MOST
    alias = world.alias(subject)
    if alias:
        for template in r.questions:
            left -= 1
            yield Probe(f"{PORTABILITY}/alias", questions.ask(template, alias), answers)
    if r.inverse:
        for template in relations()[r.inverse].questions:
            left -= 1
            yield Probe(
                f"{PORTABILITY}/inverse", questions.ask(template, world.name(target)), (world.known_as(subject),)
            )
    for chain in chosen(rng, list(chains_through(world, plan, key, target, before)), left):
        choices = [rng.randrange(3) for _ in chain.path]
        text = questions.chain_question(
            chain.path, world.name(chain.start), rng.randrange(len(questions.FRAMES)), choices
        )
        yield Probe(f"{PORTABILITY}/reasoning", text, (world.known_as(chain.end),), hops=len(chain.path))
    yield from locality_probes(world, rng, plan.touched, key, target, far=1)


def chosen(rng: random.Random, chains: Sequence[Chain], most: int) -> list[Chain]:
    """At most so many chains, as many of two facts as of three where there are enough of both."""
    by_length = {n: [chain for chain in chains if len(chain.path) == n] for n in LENGTHS}
    for group in by_length.values():
        rng.shuffle(group)
    short, long = (by_length[n] for n in LENGTHS)
    n_long = min(len(long), max(most // 2, most - len(short)))
    return short[: most - n_long] + long[:n_long]
