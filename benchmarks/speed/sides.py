"""The two processes of a session, and how they are spoken to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SIDES = ("ours", "theirs")


class Failed(RuntimeError):
    """A side could not do what it was asked: one line that says why."""


class Side:
    """One side's process, on so many threads; a context."""

    def __init__(self, side: str, checkout: Path, model: str, dataset: str, n_cases: int, threads: int = 1) -> None:
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        environment = {
            **os.environ,
            **dict.fromkeys(names, str(threads)),
            "EASYEDIT_HOME": str(checkout),
            "TOKENIZERS_PARALLELISM": "false",
        }
        self.name = side
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.speed.worker", side, model, dataset, str(n_cases), str(threads)],
            cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *error: object) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def do(self, what: str, **given: Any) -> Any:
        """Have a command done and wait for its result. Raises Failed."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": what, **given}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Failed(f"the process of {self.name} is gone.") from None
        line = self._process.stdout.readline()
        if not line:
            raise Failed(f"the process of {self.name} ended while it did '{what}'.")
        reply = json.loads(line)
        if "error" in reply:
            raise Failed(f"{self.name}, {what} {given.get('name', '')}: {reply['error']}")
        return reply["result"]
