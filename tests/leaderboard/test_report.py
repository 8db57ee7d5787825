"""The findings as one file, and tables as a paper prints them."""

from __future__ import annotations

import json
import re
from html import escape
from pathlib import Path

import pandas as pd
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from leaderboard import markup, report, twins
from leaderboard.data import Board
from runner import cli

Capture = pytest.CaptureFixture[str]


def test_the_report_is_one_file_that_needs_nothing_from_elsewhere(board: Board) -> None:
    page = report.html(board, "alpha-1b")
    assert page.startswith("<!doctype html>") and page.count("plotly.js v") == 1
    without = re.sub(r"<script\b.*?</script>", "", page, flags=re.DOTALL)
    # Nothing is fetched: no address outside of the drawing library's own code, no picture, style sheet or script.
    assert re.findall(r"(?:https?:)?//\w|src=|<link|@import|url\(", without) == []
    assert not re.search(r"<script[^>]+src=", page)
    assert set(re.findall(r'href="([^"]+)"', without)) == {f"#finding-{n}" for n in range(1, 11)}
    for finding in board.findings("alpha-1b"):
        assert f'<p class="answer">{escape(finding.answer)}</p>' in page
        assert (f'id="{finding.question.name}-figure"' in page) == finding.measured
    assert page.count('role="img" aria-label=') == sum(f.measured for f in board.findings("alpha-1b")) >= 3


def test_markdown_has_the_same_sentences_and_on_demand_the_numbers(board: Board) -> None:
    plain, full = report.markdown(board, "alpha-1b"), report.markdown(board, "alpha-1b", tables=True)
    found = board.findings("alpha-1b")
    bare = plain.replace("\\", "")
    assert all(finding.answer in bare and finding.question.limits in bare for finding in found)
    assert plain.count("\n## ") == 10 and "| SCR | 1 |" in full and "| SCR | 1 |" not in plain


def test_numbers_stand_with_their_bounds_in_one_cell() -> None:
    frame = pd.DataFrame({
        "label": ["SCR", "none"], "method": ["SCR", "none"], "key": ["a", "b"], "n_edits": [1000, 0],
        "average": [0.931, 1.0], "average_low": [0.9, None], "average_high": [0.95, None],
        "minus_scr": [-0.04, 0.1], "minus_scr_low": [-0.06, 0.05], "minus_scr_high": [-0.02, 0.15],
        "breaks_at": [float("inf"), 100.0], "p": [0.0314159, None], "empty": [None, None],
    })  # fmt: skip
    headers, rows = markup.shown(frame)
    assert headers == ["method", "edits", "average %", "minus SCR (points)", "breaks at", "p"]
    assert rows[0] == ["SCR", "1,000", "93.1 [90, 95]", "−4.0 [−6.0, −2.0]", "none", "0.0314"]
    assert rows[1] == ["unedited model", "0", "100", "+10.0 [+5.0, +15.0]", "100", "–"]


def test_no_name_is_markup() -> None:
    frame = pd.DataFrame({"label": ["a_b & 50% {x} \\y", "<b>|*`"], "average": [0.5, None]})
    assert r"a\_b \& 50\% \{x\} \textbackslash{}y & 50.0 \\" in markup.as_latex(frame)
    assert r"\textless{}b\textgreater{}|*` & -- \\" in markup.as_latex(frame, "A_caption")
    assert r"\caption{A\_caption}" in markup.as_latex(frame, "A_caption")
    assert r"| \<b\>\|\*\` | – |" in markup.as_markdown(frame)


@pytest.mark.parametrize("name", twins.TABLES)
def test_every_table_is_there_for_a_paper(board: Board, name: str) -> None:
    client = TestClient(Starlette(routes=twins.routes(board)))
    query = {"model": "alpha-1b", "data": "facts", "edits": "10", "method": "SCR", "search": "Town 1"}
    tex, md = (client.get(f"/data/{name}.{e}", params=query) for e in ("tex", "md"))
    assert tex.status_code == md.status_code == 200
    assert tex.text.count("{") == tex.text.count("}") and tex.text.startswith("\\begin{table}")
    cells = {line.count("|") - line.count("\\|") for line in md.text.splitlines()}
    assert len(cells) == 1 and md.text.startswith("| ")
    body = tex.text.split("\\midrule")[1].split("\\bottomrule")[0].strip().splitlines()
    assert len(body) == len(md.text.splitlines()) - 2 > 0 and all(line.endswith("\\\\") for line in body)


def test_the_leaderboard_of_a_paper_has_the_columns_asked_for(board: Board) -> None:
    query = {"model": "alpha-1b", "data": "events", "edits": "10"}
    few = twins.written("leaderboard", "md", *twins.table(board, "leaderboard", query | {"groups": "scores"}))
    many = twins.written("leaderboard", "md", *twins.table(board, "leaderboard", query | {"groups": "scores,costs"}))
    assert "s/edit" not in few and "s/edit" in many and "verified" not in many


def test_the_commands(database: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "r.md"
    assert cli.main(["report", "--db", str(database), "--format", "markdown", "--out", str(out)]) == 0
    assert "# Findings" in out.read_text(encoding="utf-8") and "kB" in capsys.readouterr().out
    table = ["table", "leaderboard", "--db", str(database), "--model", "alpha-1b", "--data", "events"]
    assert cli.main([*table, "--edits", "10", "--format", "json", "--filter", "sort=method"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["filters"]["edits"] == 10 and body["rows"][0]["label"] == "FT-M"
    for wrong, said in (
        (["report", "--format", "pdf"], "html or markdown"),
        (["report", "--model", "nobody"], "no model 'nobody'"),
        (["table", "cells"], "no table 'cells'"),
        (["table", "curves", "--format", "doc"], "--format is one of"),
        (["table", "curves", "--filter", "metric"], "NAME=VALUE"),
    ):
        assert cli.main([*wrong, "--db", str(database)]) == 2
        assert said in capsys.readouterr().err
    assert cli.main(["table", "curves", "--db", str(tmp_path / "none.db")]) == 2
    assert "there is no database" in capsys.readouterr().err
