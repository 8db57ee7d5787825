"""What does one more edit cost, and what does the process hold, as edits accumulate in one model?

    python -m benchmarks.growth METHOD [--edits 10000] [--every 500] [--model atlas] [--set NAME=VALUE] [--out FOLDER]

Edits as many distinct facts one after the other, each a call of its own, without asking anything in between, and
undoes them at the end. After every --every edits it records processor time per edit, the process's resident memory and
what the method keeps, in FOLDER/growth-METHOD-MODEL.csv and, at the end, as a picture beside it. METHOD may be several,
separated by commas. The facts are those of an invented world of the size that is needed. --model sample is the tiny
model of the conformance kit, with its hyperparameters.

Printed at the end: milliseconds per edit in the first and the last fifth and their ratio, which is 1 where time is
linear in edits; resident memory per edit between the ends; what the method keeps; for methods that learn all edits
together at the end, the seconds of that (`settle`); whether undo left the model as it was (if not, exit code 1).
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.growth.curve import Point, Writer, growth, picture
from runner.commands.common import hyperparameter, listed
from runner.errors import UserError
from runner.types import Edit

SAMPLE = "sample"
COLUMNS = (
    "method", "edits", "ms per edit, first", "last", "ratio", "kB per edit", "kept, MB", "settling, s", "failed",
    "undone",
)  # fmt: skip


def facts(n: int) -> Iterator[Edit]:
    """`n` edits of distinct facts in random order, always the same."""
    from runner.atlas.cases import make_edit
    from runner.atlas.world import World

    world = World(size=max(60, int(n * 1.1)))
    known = list(world.facts())
    if len(known) < n:
        raise UserError(f"a world of {len(known)} facts has no {n} edits.")
    random.Random("growth").shuffle(known)
    for fact in known[:n]:
        yield make_edit(world, (fact.relation, fact.subject), fact.object)


def run(lm: Any, method: Any, edits: Iterator[Edit], every: int, told: Callable[[Point], None]) -> float:
    """Make the edits, and tell the state after every `every` of them and after the last. Returns seconds of `settle`.

    An edit that can't be made counts as failed: its subject is not in its prompt, or the model has collapsed.
    """
    import psutil

    from runner.fingerprint import not_finite
    from runner.methods.subject import EditError

    method.prepare()
    process = psutil.Process()
    done = failed = before = 0
    start = time.process_time()

    def point() -> None:
        spent = (time.process_time() - start) / (done - before)
        told(Point(done, spent, process.memory_info().rss, method.storage_bytes(), failed))

    for edit in edits:
        try:
            method.edit([edit])
        except EditError:
            failed += 1
        except (RuntimeError, ValueError, ArithmeticError):
            if not not_finite(lm.model):
                raise
            failed += 1
        done += 1
        if done - before == every:
            point()
            before, start = done, time.process_time()
    if done > before:
        point()
    start = time.process_time()
    method.settle()
    return time.process_time() - start


def measure(name: str, lm: Any, args: argparse.Namespace) -> bool:
    """One method's curve; returns whether undo left the model as it was."""
    from runner.conformance.kit import sample_hparams
    from runner.fingerprint import differences, fingerprint
    from runner.methods import registry
    from runner.protocol import get_protocol

    cls = registry.get(name)
    given = dict(hyperparameter(text) for text in args.set)
    hparams = {k: v for k, v in given.items() if k in cls.Hparams.model_fields}
    if args.model == SAMPLE:
        hparams = {**sample_hparams(cls, args.out), **hparams}
    method = cls(lm, get_protocol("wild"), hparams)
    clean = fingerprint(lm.model)
    label = f"growth-{method.name}-{Path(lm.name).name}"
    writer, points = Writer(args.out / f"{label}.csv"), list[Point]()

    def told(point: Point) -> None:
        points.append(point)
        writer.add(point)
        if sys.stderr.isatty():
            print(f"\r{method.name}: {point.edits} edits", end="", file=sys.stderr, flush=True)

    try:
        settling = run(lm, method, facts(args.edits), args.every, told)
    finally:
        writer.close()
        method.undo()
    (args.out / f"{label}.svg").write_text(picture(points, f"{method.name}, {lm.name}"), encoding="utf-8")
    changed = differences(clean, fingerprint(lm.model))
    found, last = growth(points), points[-1]
    cells = [
        method.name,
        last.edits,
        f"{1000 * found['seconds_first']:.1f}",
        f"{1000 * found['seconds_last']:.1f}",
        f"{found['ratio']:.2f}",
        f"{found['resident_per_edit'] / 1000:.1f}",
        f"{last.kept / 1e6:.2f}",
        f"{settling:.1f}",
        last.failed,
        "no" if changed else "yes",
    ]
    print(f"| {' | '.join(map(str, cells))} |", flush=True)
    return not changed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", metavar="METHOD")
    parser.add_argument("--edits", type=int, default=10_000)
    parser.add_argument("--every", type=int, default=500)
    parser.add_argument("--model", default="atlas")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--set", action="append", default=[], help="NAME=VALUE: for each method that has it")
    parser.add_argument("--out", type=Path, default=Path("."))
    args = parser.parse_args()
    from runner.conformance.sample import taught
    from runner.models.lm import LanguageModel

    args.out.mkdir(parents=True, exist_ok=True)
    lm = taught() if args.model == SAMPLE else LanguageModel.load(args.model, args.device, args.dtype)
    print(f"| {' | '.join(COLUMNS)} |")
    print("|---|" + "---:|" * (len(COLUMNS) - 2) + "---|")
    undone = [measure(name, lm, args) for name in listed(args.methods)]
    return 0 if all(undone) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
