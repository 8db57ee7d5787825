"""Does anything that a stranger wrote make a reader fail otherwise than in one sentence?

    python -m benchmarks.fuzz TARGET [--seconds 60] [--seed 0] [--keep FOLDER] [--plain]

TARGET: grid, bundle, data, hparams, model, or all. With the package atheris (`pip install atheris`) inputs are chosen
by what code they reach; without it, or with --plain, they are drawn at random near valid ones. Printed: how many inputs
were read, and each fault once, by the place that raised it; the inputs of faults are kept in FOLDER. Exit code 1 when
there was a fault. An input that takes more than ten seconds of processor time is a fault too.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import subprocess
import sys
import time
import traceback
from pathlib import Path

from benchmarks.fuzz.mutate import mutate
from benchmarks.fuzz.targets import TARGETS, Target

SLOW = 10.0  # seconds that one input may take
ROOT = Path(__file__).resolve().parents[2]


class Watch:
    """Reads inputs and remembers faults, each place once."""

    def __init__(self, target: Target, keep: Path | None = None) -> None:
        self.target, self.keep = target, keep
        self.count = 0
        self.faults: dict[str, bytes] = {}

    def read(self, data: bytes) -> None:
        """One input."""
        self.count += 1
        start = time.process_time()
        try:
            self.target.read(data)
        except Exception as error:  # everything but the errors that the target lets pass is what is looked for
            self._fault(_place(error), data, traceback.format_exc())
            return
        if time.process_time() - start > SLOW:
            self._fault(f"slow: more than {SLOW:.0f} seconds", data, "")

    def _fault(self, place: str, data: bytes, text: str) -> None:
        if place in self.faults:
            return
        self.faults[place] = data
        print(f"FAULT in {self.target.name}: {place}", flush=True)
        if self.keep is not None:
            self.keep.mkdir(parents=True, exist_ok=True)
            name = f"{self.target.name}-{len(self.faults)}"
            (self.keep / name).write_bytes(data)
            (self.keep / f"{name}.txt").write_text(f"{place}\n\n{text}", encoding="utf-8")


def _place(error: BaseException) -> str:
    """Where in this project an exception came from, and what it said."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(ROOT)]
    last = (own or frames)[-1]
    said = " ".join(str(error).split())[:120]
    return f"{Path(last.filename).name}:{last.lineno} {type(error).__name__}: {said}"


def draw(target: Target, seconds: float, seed: int, watch: Watch, most: int | None = None) -> None:
    """Inputs at random near the target's seeds, all seeds first."""
    rng = random.Random(f"{target.name}/{seed}")
    end = time.monotonic() + seconds
    for data in target.seeds:
        watch.read(data)
    pool = list(target.seeds)
    while time.monotonic() < end and (most is None or watch.count < most):
        data = mutate(rng.choice(pool), rng)
        if rng.random() < 0.02 and len(data) < 100_000:  # a few changes add up
            pool.append(data)
        watch.read(data)


def guide(name: str, seconds: float, seed: int, keep: Path | None) -> None:
    """The same under atheris, which ends the process."""
    import atheris  # type: ignore[import-not-found, unused-ignore]

    with atheris.instrument_imports(include=["runner", "db"]):
        target = TARGETS[name]()
    watch = Watch(target, keep)
    corpus = Path((keep or Path(".")).resolve(), f"corpus-{name}")
    corpus.mkdir(parents=True, exist_ok=True)
    for i, data in enumerate(target.seeds):
        (corpus / f"seed-{i}").write_bytes(data)

    def custom(data: bytes, most: int, number: int) -> bytes:
        rng = random.Random(number)
        return mutate(data, rng)[:most] if rng.random() < 0.7 else bytes(atheris.Mutate(data, most))

    options = [f"-max_total_time={int(seconds)}", f"-seed={seed + 1}", "-max_len=65536", "-print_final_stats=1"]
    atheris.Setup(
        [sys.argv[0], *options, "-timeout=120", "-rss_limit_mb=6000", f"-artifact_prefix={corpus}/", str(corpus)],
        watch.read,
        custom_mutator=custom,
    )
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--plain", action="store_true", help="inputs at random, without atheris")
    parser.add_argument("--guided", action="store_true", help=argparse.SUPPRESS)  # the process that atheris ends
    args = parser.parse_args()
    if args.guided:
        guide(args.target, args.seconds, args.seed, args.keep)
        return 0
    guided = not args.plain and importlib.util.find_spec("atheris") is not None
    faults = 0
    for name in TARGETS if args.target == "all" else [args.target]:
        if guided:
            found = _guided(name, args)
            count, number = found
        else:
            watch = Watch(TARGETS[name](), args.keep)
            draw(watch.target, args.seconds, args.seed, watch)
            count, number = watch.count, len(watch.faults)
        how = "guided by coverage" if guided else "at random"
        print(f"{name}: {count} inputs {how}, {number} faults", flush=True)
        faults += number
    return 1 if faults else 0


def _guided(name: str, args: argparse.Namespace) -> tuple[int, int]:
    """Inputs and faults of a process under atheris."""
    keep = ["--keep", str(args.keep)] if args.keep else []
    command = [sys.executable, "-m", "benchmarks.fuzz", name, "--guided", "--seconds", str(args.seconds), *keep]
    done = subprocess.run([*command, "--seed", str(args.seed)], capture_output=True, text=True, cwd=ROOT)
    lines = [line for line in done.stdout.splitlines() if line.startswith("FAULT")]
    print("".join(f"{line}\n" for line in lines), end="")
    counts = [line.split()[-1] for line in done.stderr.splitlines() if "number_of_executed_units" in line]
    if not counts:  # it was ended by a fault that Python could not catch
        print(f"FAULT in {name}: the process ended: {done.stderr.strip().splitlines()[-1:]}")
        return 0, len(lines) + 1
    return int(counts[0]), len(lines)


if __name__ == "__main__":
    sys.exit(main())
