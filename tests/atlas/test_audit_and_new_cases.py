"""Everything that follows from an edit, and new knowledge: the answers hold in the graph, and names are new."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, product

import pytest

from runner.atlas import questions
from runner.atlas.audit import MOST, build_audit, chosen
from runner.atlas.cases import build_cases
from runner.atlas.new_cases import EVERY, N_CASES, build_new_cases
from runner.atlas.world import LISTS, World
from runner.datasets.base import load
from runner.errors import UserError

WORLD = World()
AUDIT = build_audit()


def brute_force(case):
    """All chains of two and three facts through the edit, walked in the edited graph from every entity."""
    edit = case.edits[0]
    facts = {(f.relation, WORLD.name(f.subject)): WORLD.name(f.object) for f in WORLD.facts()}
    kinds = {WORLD.name(e): e.kind for kind in WORLD._counts for e in WORLD.entities(kind)}
    edited = (edit.relation, edit.subject)
    facts[edited] = edit.target
    found = {}
    for length in (2, 3):
        for path in questions.chains(length, include_inverse=False):
            for start, kind in kinds.items():
                if kind != path[0].subject:
                    continue
                keys, at = [], start
                for r in path:
                    keys.append((r.name, at))
                    at = facts.get(keys[-1])
                    if at is None:
                        break
                if at is not None and keys.count(edited) == 1:
                    found[path, start] = at
    return found


def reasoning(case):
    return [p for p in case.probes if p.kind == "portability/reasoning"]


def test_every_chain_of_a_case_is_one_of_the_edited_graph():
    case = max(AUDIT[:20], key=lambda c: len(reasoning(c)))
    asked = {
        questions.chain_question(path, start, frame, choices): (end, len(path))
        for (path, start), end in brute_force(case).items()
        for frame in range(len(questions.FRAMES))
        for choices in product(range(3), repeat=len(path))
    }
    probes = reasoning(case)
    assert {p.hops for p in probes} == {2, 3}
    for probe in probes:
        assert asked[probe.prompt] == (probe.answers[0][0], probe.hops)
    assert len({p.prompt for p in probes}) == len(probes)


def test_all_chains_are_there_where_they_are_few():
    by_number = {len(brute_force(case)): case for case in AUDIT[:12]}
    few = [n for n in by_number if 0 < n < 25]
    assert few
    for n in few:
        # Chains through what another edit changes, or through the other half of a marriage, are left out.
        assert 0 < len(reasoning(by_number[n])) <= n


def test_the_edits_are_those_of_the_atlas_and_the_cap_holds():
    atlas = {case.edits[0] for case in build_cases()}
    for case in AUDIT:
        assert case.edits[0] in atlas
        kinds = Counter(p.kind.split("/")[0] for p in case.probes)
        assert kinds["reliability"] == 1
        assert kinds["portability"] <= MOST
        assert kinds["locality"] >= 2
    assert build_audit() == AUDIT
    assert build_audit(1) != AUDIT


def test_short_and_long_chains_share_the_cap():
    import random
    from types import SimpleNamespace

    chains = [SimpleNamespace(path=(0,) * n) for n in (2,) * 30 + (3,) * 100]
    assert Counter(len(c.path) for c in chosen(random.Random(0), chains, 40)) == {2: 20, 3: 20}
    assert Counter(len(c.path) for c in chosen(random.Random(0), chains[25:], 40)) == {2: 5, 3: 35}
    assert len(chosen(random.Random(0), chains[:33], 40)) == 33


def test_audited_cases_can_stand_in_one_sequence():
    loaded = load("atlas-audit")
    assert loaded.resolve_conflicts().cases == loaded.cases == AUDIT
    assert len(load("atlas-audit", limit=30).cases) == 30


NEW = build_new_cases()


def test_new_facts_are_about_names_that_nobody_has():
    known = [WORLD.stem(e) for kind in WORLD._counts if kind not in LISTS for e in WORLD.entities(kind)]
    stems = {stem for stem in known if len(stem) > 3}
    values = {value for listed in LISTS.values() for value in listed}
    assert len(NEW) == N_CASES
    for case in NEW[:2000]:
        edit = case.edits[0]
        assert edit.old is None
        for name in (edit.subject, edit.target):
            assert name in values or not {w for w in name.split() if w in stems}
        local = [p for p in case.probes if p.kind.startswith("locality/")]
        assert len(local) == 2
        assert all(p.answers for p in local)


def test_new_facts_hold_together():
    assert len({case.edits[0].prompt for case in NEW}) == N_CASES
    married = {}
    for case in NEW:
        edit = case.edits[0]
        if edit.relation == "spouse":
            married[edit.subject] = edit.target
    assert married
    assert not set(married) & set(married.values())
    some = NEW[:300]
    asked = {p.prompt: p.answers for case in some for p in case.probes}
    for a, b in combinations([c.edits[0] for c in some], 2):
        assert a.prompt != b.prompt
    assert all(asked[c.edits[0].prompt][0][0] == c.edits[0].target for c in some)


def test_a_sample_is_asked_of_the_same_cases():
    sampled = build_new_cases(split="sampled")
    assert [c.edits for c in sampled] == [c.edits for c in NEW]
    assert [c.id for c in sampled if c.probes] == [c.id for c in NEW[::EVERY]]
    assert sampled[EVERY] == NEW[EVERY]
    with pytest.raises(UserError, match="no split 'train'"):
        build_new_cases(split="train")
