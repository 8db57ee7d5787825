"""How long do editing, asking and a whole job take, here and with EasyEdit, on the same work?

    python -m benchmarks.speed CHECKOUT [--methods ROME,MEMIT] [--edits 10] [--rounds 3] [--questions 100]
        [--threads 1] [--job FT-M,ROME --counts 1,10,100] [--json]

CHECKOUT is a clone of github.com/zjunlp/EasyEdit. Each side has a process of its own (a new one for each method) with
as many threads (--threads, 1), the same copy of the model in float32 on the CPU, the same edits, hyperparameters,
contexts, second moments, prompts and budget of tokens. A round runs ours, then theirs; printed are the median and the
range of the rounds, and the ratio round by round. Processor seconds of a process don't count what other processes do
meanwhile; seconds on the wall do. With more than one thread look at the wall: a thread that waits for work counts as
working.

Editing: seconds of `edit` here and of the entry point `apply_…_to_model` there, of one edit at a time, mean over all
but the first. After the first and after the last edit what the edits left is compared: |ours - theirs| / |theirs| of
the change of the weights, or of GRACE's codebook. "Apart": the same edits, each in the unedited model, as a grid makes
sequences of one edit, where some methods here work several out at once; there it costs what an edit in a row costs.
WISE and LoRA differ by design (padding counted as text, random beginnings), so that only the work is the same there.
Asking: 100 questions at once here, by its `generate_texts` there (one at a time, without a cache), with our budget
and without its stop strings; and targets under teacher forcing, by its `test_prediction_acc`.
Job (--job): a grid here (unedited answers, edits, free and forced answers, scores, database), `edit_requests` with
free-running exact match there, once for each number of edits, on as many cases as the largest number.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.speed import report
from benchmarks.speed.sides import SIDES, Failed, Side
from runner.methods import registry
from runner.methods.easyedit.table import EDITORS

ALGORITHM_DIFFERS = ("WISE", "LoRA")


def chosen(asked: str | None) -> list[str]:
    """Methods by name; all that EasyEdit has too when none are asked for. Raises SystemExit for one it hasn't."""
    known = {editor.name.lower(): editor.name for editor in EDITORS}
    names = [name.strip() for name in asked.split(",") if name.strip()] if asked is not None else list(known)
    wrong = [name for name in names if name.lower() not in known]
    if wrong:
        raise SystemExit(f"EasyEdit's {wrong[0]} can't be run here; known: {', '.join(known.values())}.")
    return [known[name.lower()] for name in names]


def numbers(text: str) -> list[int]:
    """Positive whole numbers, separated by commas. Raises SystemExit for anything else."""
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise SystemExit(f"--counts {text} should be numbers from 1, separated by commas.")
    return found


def given(name: str, pairs: Sequence[str]) -> dict[str, Any]:
    """Of NAME=VALUE pairs those that the method has. Raises SystemExit for one that is not such a pair."""
    found = {}
    for pair in pairs:
        key, written, value = pair.partition("=")
        if not written:
            raise SystemExit(f"--set {pair} should be NAME=VALUE.")
        try:
            found[key] = json.loads(value)
        except ValueError:
            raise SystemExit(f"--set {pair}: the value should be JSON.") from None
    known = registry.get(name).Hparams.model_fields
    return {key: value for key, value in found.items() if key in known}


class Session:
    """Both sides, and rounds of commands to them."""

    def __init__(self, sides: Sequence[Side], rounds: int) -> None:
        self.sides, self.rounds = sides, rounds

    def each(self, what: str, **given: Any) -> dict[str, Any]:
        """A command to one side after the other."""
        return {side.name: side.do(what, **given) for side in self.sides}

    def row(self, what: str, label: str, goal: str, **given: Any) -> dict[str, Any]:
        """The row of a command, given in every round."""
        rounds = [self.each(what, **given) for _ in range(self.rounds)]
        return report.other_row(label, report.GOALS[goal], rounds, "asked" if what == "job" else "")

    def edits(self, name: str, n: int, hparams: dict[str, Any]) -> dict[str, Any]:
        """A method's row; what the edits left is compared in the first round."""
        import torch

        with tempfile.TemporaryDirectory() as folder:
            files = {side.name: str(Path(folder) / side.name) for side in self.sides}
            rounds, differences = [], []
            for place in range(self.rounds):
                given = {"name": name, "n": n, "hparams": hparams}
                rounds.append(
                    {s.name: s.do("edit", save=None if place else files[s.name], **given) for s in self.sides}
                )
            if name not in ALGORITHM_DIFFERS:
                left = [torch.load(files[side]) for side in SIDES]
                differences = [report.relative_difference(ours, theirs) for ours, theirs in zip(*left, strict=True)]
        return report.edit_row(name, registry.get(name).family, rounds, differences)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, metavar="CHECKOUT")
    parser.add_argument("--methods", help="separated by commas; default: all that EasyEdit has too; '' for none")
    parser.add_argument("--edits", type=int, default=10, help="default 10")
    parser.add_argument("--rounds", type=int, default=3, help="default 3")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a hyperparameter of edits, here and there"
    )
    parser.add_argument("--questions", type=int, default=100, help="default 100; 0: ask nothing")
    parser.add_argument("--threads", type=int, default=1, help="of each side; default 1")
    parser.add_argument("--job", default="", metavar="METHODS", help="whole jobs; default: none, they take long")
    parser.add_argument("--counts", type=numbers, default=[1, 10, 100], help="edits of a job; default 1,10,100")
    parser.add_argument("--model", default="atlas")
    parser.add_argument("--dataset", default="atlas")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(arguments)
    methods, jobs = chosen(args.methods), chosen(args.job)
    if not (args.checkout / "easyeditor" / "models").is_dir():
        raise SystemExit(f"{args.checkout} holds no easyeditor/models; give the folder of an EasyEdit clone.")
    for name in methods:
        given(name, args.set)
    n_cases = max(args.edits, max(args.counts) if jobs else 0, -(-args.questions // 10))
    found: dict[str, Any] = {"edits": [], "asking": [], "jobs": [], "failed": []}
    start = (args.checkout.resolve(), args.model, args.dataset, n_cases, args.threads)
    for name in methods:
        with contextlib.ExitStack() as own:  # what an editor leaves in a process reaches no other
            session = Session([own.enter_context(Side(side, *start)) for side in SIDES], args.rounds)
            _try(found, "edits", name, partial(session.edits, name, args.edits, given(name, args.set)))
    with contextlib.ExitStack() as stack:
        session = Session([stack.enter_context(Side(side, *start)) for side in SIDES], args.rounds)
        found["start"] = session.each("ready")
        found["start"]["import easyeditor"] = session.sides[1].do("start up")
        if args.questions:
            for what, label in (("ask", "answers, free-running"), ("force", "targets, teacher forcing")):
                _try(found, "asking", label, partial(session.row, what, label, "answers", n=args.questions))
        for name in jobs:
            label = f"{name}: edit, ask, score at {', '.join(map(str, args.counts))} edits"
            _try(found, "jobs", label, partial(session.row, "job", label, "job", name=name, counts=args.counts))
        found["memory"] = {side: start["memory"] for side, start in found["start"].items() if side in SIDES}
        with contextlib.suppress(Failed):  # of a side that has ended what it took at the start is shown
            found["memory"] |= {side: value["memory"] for side, value in session.each("memory").items()}
    print(json.dumps(found, indent=1, default=dataclasses.asdict) if args.json else text(found))
    return int(bool(found["failed"]))


def _try(found: dict[str, Any], part: str, name: str, work: Callable[[], Any]) -> None:
    try:
        found[part].append(work())
        print(f"{name} done", file=sys.stderr, flush=True)
    except Failed as error:
        found["failed"].append(str(error))
        print(f"failed: {error}", file=sys.stderr, flush=True)


def text(found: dict[str, Any]) -> str:
    """All tables."""
    parts = []
    if found["edits"]:
        parts.append("Processor seconds per edit\n\n" + report.edits_table(found["edits"]))
    rest = [*found["asking"], *found["jobs"]]
    if rest:
        parts.append("Asking and whole jobs, processor seconds\n\n" + report.others_table(rest))
    lines = []
    for side in SIDES:
        start = found["start"][side]
        lines.append(
            f"{side}: {start['import']:.1f} s of importing ({start['modules']} modules), "
            f"{start['load']['processor']:.1f} s of loading model and data, {start['memory'] / 1e6:.0f} MB then, "
            f"{found['memory'][side] / 1e6:.0f} MB at most"
        )
    whole = found["start"]["import easyeditor"]
    lines.append(f"import easyeditor as a whole: {whole or 'works'}")
    parts.append("\n".join(lines))
    if found["failed"]:
        parts.append("\n".join(f"failed: {line}" for line in found["failed"]))
    return "\n\n".join(parts)


if __name__ == "__main__":
    raise SystemExit(main())
