"""Each finding on numbers whose answer is known, both ways: the sentence must change when they do."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from findings_samples import Invented, N, shares

from leaderboard.findings import (
    collapse,
    domains,
    find_all,
    forcing,
    hybrids,
    latency,
    memory_size,
    numbers,
    portability,
    questions,
    reasoning,
    retraining,
    sizes,
)
from leaderboard.findings.finding import Finding, seeds_line

GRIDS = Path(__file__).parents[2] / "runner" / "grids"


@pytest.fixture
def frames() -> Invented:
    return Invented()


def drawn(finding: Finding) -> bool:
    return finding.measured and len(finding.figure.data) > 0 and bool(finding.alt) and "Measured:" in finding.scope


def test_without_cells_every_question_says_how_to_get_an_answer(frames: Invented) -> None:
    frames.cell("none", 0, 0.25)
    found = find_all(frames)
    assert [f.question.number for f in found] == list(range(1, 11))
    assert all(f.answer.startswith("Not run yet") and f.question.repeat[0] in f.answer for f in found)
    assert not any(f.measured or f.by_seed for f in found)


def test_every_command_names_a_grid_that_is_there() -> None:
    for question in questions():
        for command in question.repeat:
            grid = re.match(r"python -m runner run (\S+)", command)
            assert grid is None or (GRIDS / f"{grid[1]}.yaml").exists(), command


# 1: sequential collapse


def three_lengths(frames: Invented, method: str, averages: tuple[float, ...], weights: float | None = None) -> None:
    for length, average in zip((1, 10, 100), averages, strict=True):
        key = frames.cell(method, length, average)
        if weights is not None:
            frames.sign(key, "collapse/weight_change", weights * length)


def test_a_collapse_is_found_where_it_is(frames: Invented) -> None:
    frames.cell("none", 0, 0.25)
    three_lengths(frames, "ROME", (0.8, 0.75, 0.1), weights=3.0)
    three_lengths(frames, "MEMIT", (0.8, 0.2, 0.1), weights=9.0)
    three_lengths(frames, "FT-M", (0.8, 0.8, 0.7), weights=0.1)
    three_lengths(frames, "SCR", (0.95, 0.95, 0.95))
    found = collapse.find(frames)
    assert "Up to 100 edits in a row 2 of 4 methods fall below half" in found.answer
    assert "MEMIT at 10" in found.answer and "ROME at 100" in found.answer and drawn(found)
    assert "SCR does not collapse: it keeps 100 %" in found.answer
    assert "the norm of the weight change (rank correlation 0.9" in found.answer
    assert found.table.set_index("label").loc["MEMIT", "breaks_at"].tolist() == [10.0, 10.0, 10.0]


def test_no_collapse_is_said_and_that_of_scr_too(frames: Invented) -> None:
    frames.sign(frames.cell("none", 0, 0.25), "average", 0.25, "free")
    three_lengths(frames, "ROME", (0.8, 0.75, 0.7))
    three_lengths(frames, "SCR", (0.9, 0.6, 0.3))
    three_lengths(frames, "FT-L", (0.25, 0.25, 0.25))
    found = collapse.find(frames)
    assert "1 of 2 methods falls below half of its one-edit average (not counted: FT-L" in found.answer
    assert "SCR collapses, too: it keeps 33.3 %" in found.answer
    assert "no sign of collapse was recorded" in found.answer
    steady = Invented()
    three_lengths(steady, "ROME", (0.8, 0.75, 0.7))
    assert "No method of 1 collapses up to 100 edits" in collapse.find(steady).answer
    assert "SCR isn't among them" in collapse.find(steady).answer


def test_longer_sequences_of_more_cases_join_the_curves(frames: Invented) -> None:
    three_lengths(frames, "ROME", (0.8, 0.8, 0.8))
    three_lengths(frames, "SCR", (0.9, 0.9, 0.9))
    three_lengths(frames, "FT-M", (0.9, 0.9, 0.9))
    frames.cell("ROME", 300, 0.3, n_cases=60)
    found = collapse.find(frames)
    assert "Up to 100 edits in a row (300: ROME) 1 of 3 methods" in found.answer
    assert "ROME at 300" in found.answer and "20 or 60 cases" in found.scope


def test_a_headline_is_computed_per_seed(frames: Invented) -> None:
    for seed, last in enumerate((0.9, 0.8, 0.7)):
        frames.cell("SCR", 1, 1.0, seed=seed)
        frames.cell("SCR", 100, last, seed=seed)
    found = collapse.find(frames)
    assert found.seeds == pytest.approx({0: 0.9, 1: 0.8, 2: 0.7})
    assert "90.0 %, 80.0 %, 70.0 % (seeds 0, 1, 2; from smallest to largest 20.0 points)" in found.by_seed
    frames.cell("SCR", 10, 0.95)
    frames.cell("SCR", 10, 0.9, seed=3)  # the seeds share no two lengths any more
    assert collapse.find(frames).seeds == pytest.approx({0: 0.9, 1: 0.8, 2: 0.7})
    assert collapse.find(frames).by_seed.startswith("SCR's average at 100 in a row: 90.0 %")
    assert "fewer than three seeds" in seeds_line("x", {0: 0.9, 1: 0.8}, "%")
    assert "seed 4 only" in seeds_line("x", {4: 0.9}, "%")


# 2: latency


def timed(frames: Invented, scr: float, rome: float, edit: float) -> Finding:
    keys = {
        "none": frames.cell("none", 0), "SCR": frames.cell("SCR", 1), "ROME": frames.cell("ROME", 1),
    }  # fmt: skip
    for i in range(20):
        frames.sequence(keys["SCR"], scr, 0.01, encoder=0.1 * scr, confirmation=0.6 * scr, generation=0.3 * scr)
        frames.sequence(keys["ROME"], rome * (1 + 0.001 * i), edit, generation=rome)
    frames.sequence(keys["none"], rome, 0.0, generation=rome)
    return latency.find(frames)


def test_what_scr_costs_is_said_in_parts_and_in_answers_per_edit(frames: Invented) -> None:
    found = timed(frames, scr=1.0, rome=0.25, edit=0.7585)
    assert "3.96 [3.9" in found.answer and "that of a model edited by ROME" in found.answer
    assert "confirmation 60 %, generation 30 % and encoder 10 %" in found.answer
    assert "ROME is the cheaper only from 10 answers per edit on" in found.answer and drawn(found)
    row = found.table.set_index("label").loc["SCR"]
    assert row["answer_ms"] == pytest.approx(100) and row["confirmation"] == pytest.approx(60)


def test_times_of_other_experiments_do_not_stand_in(frames: Invented) -> None:
    for length in (1, 3, 10, 30, 100):  # timed as well, and more of them, but with one variant of SCR
        for method in ("SCR", "ROME", "FT-M"):
            frames.sequence(frames.cell(method, length, n_cases=100), 9.0, 1.0, generation=9.0)
    variant = frames.cell("SCR", 1, hparams={"confirm": False})
    frames.sequence(variant, 1.0, generation=1.0)
    scope = timed(frames, scr=1.0, rome=0.25, edit=0.7585).scope
    assert "20 cases" in scope and re.search(r"; [\d,]+ (s|minutes) of editing and answering\.$", scope)


def test_an_scr_that_costs_nothing_more_is_said_to(frames: Invented) -> None:
    found = timed(frames, scr=0.25, rome=0.25, edit=0.005)
    assert "0.99 [0.99, 0.99] times as long as that of a model edited by ROME" in found.answer
    cheaper = timed(Invented(), scr=0.1, rome=0.25, edit=1.0)
    assert "SCR is the cheaper however often is asked" in cheaper.answer


# 3: portability


def test_what_follows_from_an_edit_by_distance(frames: Invented) -> None:
    scr, rome = frames.cell("SCR", 1, dataset="atlas-audit"), frames.cell("ROME", 1, dataset="atlas-audit")
    for key, three in ((scr, 0.5), (rome, 0.1)):
        frames.hop(key, "alias", 1, shares(1.0))
        frames.hop(key, "reasoning", 3, shares(three))
    found = portability.find(frames)
    assert "SCR answers most of the farthest questions (reasoning, 3 hops) right, 50.0 %" in found.answer
    assert "the best method that changes weights, ROME, answers 10.0 %" in found.answer
    assert "SCR falls with distance: −50.0 points" in found.answer and drawn(found)
    assert found.seeds == {0: 0.5}


def test_no_loss_with_distance_is_said(frames: Invented) -> None:
    key = frames.cell("SCR", 1)
    frames.hop(key, "alias", 1, shares(0.9))
    frames.hop(key, "reasoning", 2, shares(0.9))
    assert "SCR does not fall with distance for sure" in portability.find(frames).answer


# 4: domains


def in_domains(frames: Invented, law: float, art: float) -> Finding:
    frames.group_of = {f"c{i}": "law" if i < N // 2 else "art" for i in range(N)}
    key = frames.cell("SCR", 100, shares(law, N // 2) + shares(art, N // 2))
    frames.cell("ROME", 100, 0.5)
    frames.lookup(key, False, "none", 8, 2)
    frames.lookup(key, True, "other", 4, 1, case=1)
    frames.lookup(key, True, "own", 20, 19, case=N - 1)
    return domains.find(frames)


def test_a_domain_that_is_worse_is_named_and_errors_are_put_to_their_step(frames: Invented) -> None:
    found = in_domains(frames, law=1.0, art=0.2)
    assert "SCR's average depends on the domain" in found.answer and drawn(found)
    assert "from 20.0 %" in found.answer and "(art) to 100 %" in found.answer
    assert "SCR's 10 wrong answers to 32 questions about edits most are the retriever's" in found.answer
    assert "retriever 6, confirmation 3, answer 1" in found.answer
    assert found.seeds == pytest.approx({0: 0.8})


def test_domains_that_differ_by_chance_are_said_to(frames: Invented) -> None:
    assert "does not depend on the domain beyond chance" in in_domains(frames, law=0.6, art=0.5).answer


# 5: memory size


def filled(frames: Invented, averages: dict[int, float]) -> Finding:
    for distractors, average in averages.items():
        hparams = {"distractors": distractors, "retriever": "minilm", "distractors_from": "atlas"}
        key = frames.cell("SCR", 50, average, hparams=hparams)
        frames.sequence(key, 1.0 + distractors / 1000, encoder=0.1)
        frames.lookup(key, True, "own", 10, 10)
        frames.lookup(key, distractors < 1000, "other", 10, 0, case=1)
    return memory_size.find(frames)


def test_a_memory_that_is_too_full_is_said_to_be(frames: Invented) -> None:
    found = filled(frames, {0: 0.95, 100: 0.9, 1000: 0.4})
    assert "From 50 to 1,050 statements in memory the average of SCR (minilm) falls (−55.0 points" in found.answer
    assert "the first size that is worse for sure is 1,050" in found.answer and drawn(found)
    assert "recall of the right statement goes from 100 %" in found.answer and "to 50.0 %" in found.answer
    assert found.seeds == pytest.approx({0: -0.55})


def test_a_memory_that_does_no_harm_is_said_to(frames: Invented) -> None:
    assert "does not fall for sure" in filled(frames, {0: 0.9, 1000: 0.9}).answer


# 6: hybrids


@pytest.mark.parametrize(
    "hybrid,said",
    [
        (0.9, "1 of 1 hybrids beats SCR alone (ROME+SCR +40.0 points"),
        (0.1, "0 of 1 hybrids beat SCR alone, 1 is worse (ROME+SCR −40.0 points"),
    ],
)
def test_hybrids_are_set_against_both_of_their_parts(frames: Invented, hybrid: float, said: str) -> None:
    for method, average in (("SCR", 0.5), ("ROME", 0.3), ("ROME+SCR", hybrid)):
        frames.sequence(frames.cell(method, 100, average), 2.0 if "+" in method else 1.0)
    found = hybrids.find(frames)
    assert said in found.answer and drawn(found)
    assert "an answer takes 2.00 times as long as SCR's" in found.answer
    assert found.table["minus_editor"].tolist() == pytest.approx([hybrid - 0.3])


# 7: re-training


def trained(frames: Invented, scores: dict[int, tuple[float, float]]) -> Finding:
    metrics = ("reliability", "generalization", "locality")
    for facts, (retrain, scr) in scores.items():
        for method, average in (("retrain", retrain), ("SCR", scr)):
            key = frames.cell(method, facts, average, dataset="atlas-new", metrics=metrics, n_cases=facts)
            frames.sequence(key, 1.0, 5.0 if method == "retrain" else 0.5, edits=facts)
    return retraining.find(frames)


def test_the_crossing_point_is_where_re_training_is_better_for_sure(frames: Invented) -> None:
    found = trained(frames, {10: (0.5, 0.9), 100: (0.95, 0.75), 1000: (0.95, 0.5)})
    assert "Re-training overtakes SCR at 100 new facts (+20.0 points" in found.answer and drawn(found)
    assert "a fact takes it 0.50 s at 10 and 5.0 ms at 1,000" in found.answer
    assert found.seeds == pytest.approx({0: 0.45})


def test_without_a_crossing_point_none_is_named(frames: Invented) -> None:
    assert "re-training never overtakes SCR" in trained(frames, {10: (0.1, 0.9), 100: (0.1, 0.9)}).answer
    level = trained(Invented(), {10: (0.1, 0.9), 100: (0.9, 0.9)}).answer
    assert "does not overtake SCR for sure; the two are level at 100" in level


# 8: reasoning


def thought(frames: Invented, rome: float, thinking: float) -> Finding:
    for method, rate, average in (("ROME", rome, thinking), ("SCR", 0.0, 0.9)):
        frames.cell(method, 30, 0.5)
        key = frames.cell(method, 30, average, protocol="reasoning")
        frames.values(key, "reflection", shares(rate))
    return reasoning.find(frames)


def test_reflection_is_counted_and_thinking_is_paired_with_not_thinking(frames: Invented) -> None:
    found = thought(frames, rome=0.4, thinking=0.1)
    assert "most often under ROME, 40.0 %" in found.answer and "least under SCR, 0.0 %" in found.answer
    assert "raises the average of 1 of 2 methods (SCR +40.0 points" in found.answer
    assert "lowers that of 1 of 2 methods (ROME −40.0 points" in found.answer and drawn(found)
    assert found.seeds == pytest.approx({0: 0.2})
    assert "No trace of 2 methods leaves the new fact" in thought(Invented(), rome=0.0, thinking=0.5).answer


# 9: sizes


@pytest.mark.parametrize(
    "large,order,lead",
    [((0.9, 0.5, 0.2), "is the same (mean", "everywhere, by +40.0 to +40.0"),
     ((0.2, 0.5, 0.9), "is not the same (mean", "does not lead the best")],
)  # fmt: skip
def test_models_are_compared_by_the_order_of_methods(
    frames: Invented, large: tuple[float, ...], order: str, lead: str
) -> None:
    for model, averages in (("tiny", (0.9, 0.5, 0.2)), ("large", large)):
        for method, average in zip(("SCR", "ROME", "MEMIT"), averages, strict=True):
            frames.cell(method, 100, average, model=model)
    found = sizes.find(frames)
    assert order in found.answer and lead in found.answer and drawn(found)


def test_models_are_compared_by_what_they_share(frames: Invented) -> None:
    for seed, models in ((0, ("tiny", "large")), (1, ("tiny", "large")), (2, ("tiny",))):
        for model in models:
            for method, average in zip(("SCR", "ROME", "MEMIT"), (0.9, 0.5, 0.2), strict=True):
                frames.cell(method, 100, average, model=model, seed=seed)
    frames.cell("FT-M", 100, 0.99, model="tiny")
    found = sizes.find(frames)
    assert "SCR ranks first on 2 of them" in found.answer and "3 methods" in found.scope
    assert found.seeds == pytest.approx({0: 0.4, 1: 0.4})  # seed 2 has one model


# 10: teacher forcing


def read_both_ways(frames: Invented, forced: tuple[float, float, float]) -> Finding:
    for method, free, other in zip(("SCR", "ROME", "FT-M"), (0.9, 0.5, 0.1), forced, strict=True):
        frames.cell(method, 100, free, forced=other)
    return forcing.find(frames)


def test_pairs_that_swap_are_counted(frames: Invented) -> None:
    found = read_both_ways(frames, (0.7, 0.8, 0.9))
    assert found.answer.startswith("Teacher forcing swaps 3 ") and "Kendall's tau −1.00" in found.answer
    assert "2 of them although free running tells the two apart" in found.answer
    assert "it adds up to 80 points (FT-M)" in found.answer and drawn(found)


def test_an_order_that_holds_is_said_to(frames: Invented) -> None:
    found = read_both_ways(frames, (0.95, 0.8, 0.6))
    assert "Teacher forcing keeps the order of all 3 pairs of methods at 100 in a row" in found.answer
    assert found.seeds == pytest.approx({0: 1.0})


# The numbers


def test_rank_statistics_are_the_textbook_ones() -> None:
    a, b = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 2.0, 4.0, 3.0])
    assert numbers.kendall(a, b) == pytest.approx(4 / 6) and numbers.swapped(a, b) == 1
    assert numbers.spearman(a.tolist(), b.tolist()) == pytest.approx(0.8)
    assert np.isnan(numbers.spearman([1, 1, 1], [1, 2, 3]))


def test_frames_of_the_same_cases_are_resampled_together() -> None:
    rng = np.random.default_rng(0)
    one = pd.DataFrame({"a": rng.random(50)}, index=[f"c{i}" for i in range(50)])
    drawn_ = numbers.averages({"x": one, "y": one + 0.1, "z": one.rename(index=lambda i: f"other {i}")}, ["a"])
    assert np.allclose(drawn_["y"] - drawn_["x"], 0.1)
    assert (drawn_["z"] - drawn_["x"]).std() > 0.01


def test_group_means_that_differ_are_told_from_those_that_don_t() -> None:
    groups = pd.Series(["a", "b"] * 30)
    apart = pd.Series([0.0, 1.0] * 30)
    even = pd.Series(([0.0] * 2 + [1.0] * 2) * 15)
    assert numbers.permutation_p(apart, groups) < 0.01 < 0.3 < numbers.permutation_p(even, groups)
