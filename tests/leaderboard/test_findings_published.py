"""Headlines of the published results, made again from the raw answers that are shipped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from db.published import published
from db.reader import AnswerQuery, Reader
from db.records import ANSWER_FIELDS
from db.store import Store
from leaderboard import report
from leaderboard.data import Board
from leaderboard.findings.frames import Stored, comparison, first_seed
from runner.metrics.scores import score_cell
from runner.types import Answer, case_from_json

ROOT = Path(__file__).parents[2]
# What the readme says of the atlas model: the words before the number, the method, the number of cases in a row.
README = (
    (r"SCR keeps an average of ([\d.]+) %", "SCR", 100),
    (r"ROME falls from ([\d.]+) % after one edit", "ROME", 1),
    (r"ROME falls from [\d.]+ % after one edit to ([\d.]+) %", "ROME", 100),
    (r"After 10,000 \(`run ten-thousand`\) SCR keeps ([\d.]+) %", "SCR", 10_000),
    (r"\(`run ten-thousand`\) SCR keeps [\d.]+ %, FT-M ([\d.]+) %", "FT-M", 10_000),
)


@pytest.fixture(scope="module")
def board() -> Iterator[Board]:
    path = published()
    if path is None:
        pytest.skip("no published results here")
    reader = Reader.open(path)
    yield Board(reader, "the published results")
    reader.close()


def cell_key(board: Board, method: str, n_edits: int) -> str:
    """The cell of the comparison that the findings choose, at the seed they show; of the longest sequences the one that
    there is."""
    if n_edits == 10_000:
        cells = board.cells()
        return str(cells[(cells["label"] == method) & (cells["n_edits"] == n_edits)]["key"].item())
    cells = comparison(Stored(board.reader, board.cells(), "atlas").cells())
    own = cells[(cells["label"] == method) & (cells["n_edits"] == n_edits) & (cells["seed"] == first_seed(cells))]
    return str(own["key"].iloc[0])


def scored_again(board: Board, key: str) -> float:
    """The average of a cell by the present scorer from its raw answers and those of the unedited model."""
    with Store.open(f"sqlite:///{board.reader.path}", readonly=True) as store:
        cell = store.cell(key)
        bodies = {body["id"]: case_from_json(body) for body in store.dataset_cases(cell["dataset_hash"])}
        cases = [bodies[case_id] for case_id in cell["case_ids"]]
        answers, before = (
            [Answer(**{n: row[n] for n in ANSWER_FIELDS}) for row in store.answers(of) if row["mode"] == "free"]
            for of in (key, cell["base_key"])
        )
    metrics, _ = score_cell(cases, answers, before, "free")
    return float(next(m.value for m in metrics if m.metric == "average"))  # type: ignore[arg-type]


@pytest.mark.parametrize("words,method,n_edits", README)
def test_a_headline_comes_out_of_the_raw_answers(board: Board, words: str, method: str, n_edits: int) -> None:
    key = cell_key(board, method, n_edits)
    again = scored_again(board, key)
    stored = [row for row in board.reader.scores([key]) if (row["metric"], row["mode"]) == ("average", "free")]
    assert again == pytest.approx(stored[0]["value"], abs=1e-9)
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    said = re.search(words, text)
    assert said, f"the readme no longer says '{words}'; change README here and there together"
    assert float(said[1]) == pytest.approx(100 * again, abs=0.5 if "." not in said[1] else 0.05)


def test_the_first_finding_says_what_the_raw_answers_say(board: Board) -> None:
    first = board.findings("atlas")[0]
    line = first.table[first.table["label"] == "SCR"].set_index("n_edits")["value"]
    for n_edits in (1, 100):
        assert line[n_edits] == pytest.approx(scored_again(board, cell_key(board, "SCR", n_edits)), abs=1e-9)
    longest = max(line.index)
    kept = line[longest] / line[1]
    verb = "collapses, too" if kept < 0.5 else "does not collapse"
    assert f"SCR {verb}: it keeps {100 * kept:.1f} %" in first.answer.replace("100 %", "100.0 %")


def test_the_page_of_findings_is_that_of_the_published_results(board: Board) -> None:
    written = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
    again = "python -m runner report --format markdown --db published --out docs/findings.md"
    assert written == report.markdown(board), f"out of date; write it again: {again}"


def test_the_domains_errors_add_up_to_the_wrong_answers(board: Board) -> None:
    """Look-ups are counted by the database; here the same answers are read one by one."""
    finding = board.findings("atlas")[3]
    if not finding.measured or "questions" not in finding.table:
        pytest.skip("the published results have no look-ups")
    own = finding.table[finding.table["label"] == "SCR"]
    length = int(re.search(r"at ([\d,]+) in a row", finding.answer)[1].replace(",", ""))  # type: ignore[index]
    key = cell_key(board, "SCR", length)
    with Store.open(f"sqlite:///{board.reader.path}", readonly=True) as store:
        edits = {b["id"]: {e["statement"] for e in b["edits"]} for b in
                 store.dataset_cases(store.cell(key)["dataset_hash"])}  # fmt: skip
        answers = [row for row in store.answers(key) if row["mode"] == "free"]
    verdicts = {
        row["id"]: (row["metric"], row["correct"])
        for kind in ("reliability", "generalization", "portability")
        for row in board.reader.answers(AnswerQuery(key, kind=kind), 100_000)
    }
    wrong = np.zeros(3, dtype=int)
    for row in answers:
        _, correct = verdicts.get(row["id"], ("", None))
        if correct is None or correct >= 1 or not row["consulted"]:
            continue
        retrieved, number = row["consulted"]["retrieved"], row["consulted"]["confirmed"]
        statements = edits[row["case_id"]]
        if not statements & set(retrieved):
            wrong[0] += 1
        elif number is None or retrieved[number - 1] not in statements:
            wrong[1] += 1
        else:
            wrong[2] += 1
    assert own[["retriever", "confirmation", "answer"]].sum().astype(int).tolist() == wrong.tolist()
