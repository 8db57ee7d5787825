"""The invented database, built once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import fake_db
import pytest

from db.reader import Reader
from leaderboard.data import Board


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of the invented database."""
    path = tmp_path_factory.mktemp("board") / "fake.db"
    fake_db.build(path)
    return path


@pytest.fixture(scope="session")
def board(database: Path) -> Iterator[Board]:
    """The board on it."""
    reader = Reader.open(database)
    yield Board(reader, "fake")
    reader.close()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny model whose own settings make an edit by FT-M a few quick steps."""
    from runner.conformance import sample

    lm = sample.taught()
    path = tmp_path_factory.mktemp("tiny") / "model"
    lm.model.save_pretrained(path)
    lm.tokenizer.save_pretrained(path)
    config = json.loads((path / "config.json").read_text())
    config["editing"] = {"FT-M": {"steps": 4, "lr": 0.01}}
    (path / "config.json").write_text(json.dumps(config))
    return str(path)
