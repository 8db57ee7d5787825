"""Does looking up every step of reasoning beat looking up the question once?

    python benchmarks/multihop.py [--method SCR --method MultiHop-SCR] [--cases 120] [--reasoning 60] [--others 24]

The atlas model on the atlas's validation split: --cases cases are edited, then the reasoning probes of the first
--reasoning of them (by default half) are asked, and all other probes of the first --others (by default a fifth).
Printed per method, and first for the unedited model: the share answered right (locality: as the unedited model does),
the number of questions, and seconds of processor time per answer. With --cases 40 it takes a third of the time.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from runner.atlas.cases import build_cases  # noqa: E402
from runner.methods import registry  # noqa: E402
from runner.methods.scr import SCR  # noqa: E402
from runner.metrics.matching import match  # noqa: E402
from runner.models.lm import LanguageModel  # noqa: E402
from runner.protocol import get_protocol  # noqa: E402
from runner.types import LOCALITY, Probe, Reply  # noqa: E402

REASONING = "portability/reasoning"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", action="append", help="default: SCR and MultiHop-SCR")
    parser.add_argument("--cases", type=int, default=120, help="cases edited, all in memory (default 120)")
    parser.add_argument("--reasoning", type=int, help="cases whose reasoning probes are asked; default: half")
    parser.add_argument("--others", type=int, help="cases whose other probes are asked; default: a fifth")
    parser.add_argument("--protocol", default="wild", help="e.g. reasoning: every answer after a trace")
    options = parser.parse_args()
    lm = LanguageModel.load("atlas")
    cases = build_cases(0, "validation")[: options.cases]
    n_reasoning = len(cases) // 2 if options.reasoning is None else options.reasoning
    n_others = len(cases) // 5 if options.others is None else options.others
    asked: list[tuple[str, Probe]] = []
    for number, case in enumerate(cases):
        for probe in case.probes:
            if probe.kind == REASONING and number < n_reasoning:
                asked.append((f"{probe.kind}, {probe.hops} hops", probe))
            elif probe.kind != REASONING and number < n_others:
                asked.append((probe.kind, probe))
    prompts = [probe.prompt for _, probe in asked]
    protocol = get_protocol(options.protocol, 96 if options.protocol == "reasoning" else None)
    start = time.process_time()
    before = registry.get("none")(lm, protocol).answer(prompts)
    report("none", asked, before, before, time.process_time() - start, 0)
    for name in options.method or ["SCR", "MultiHop-SCR"]:
        cls = registry.get(name)
        # The atlas model tells one relevant statement from none better than one from five.
        part = getattr(cls, "parts", (cls,))[-1]
        own = {"one_by_one": True} if issubclass(part, SCR) else {}
        method = cls(lm, protocol, {part.name: own} if hasattr(cls, "parts") else own)
        for case in cases:
            method.edit(case.edits)
        start = time.process_time()
        replies = method.answer(prompts)
        report(name, asked, replies, before, time.process_time() - start, method.storage_bytes())
        method.undo()


def report(
    name: str,
    asked: Sequence[tuple[str, Probe]],
    replies: Sequence[Reply],
    before: Sequence[Reply],
    seconds: float,
    kept: int,
) -> None:
    """Print one method's shares by kind of probe. seconds: of processor time, for all answers."""
    right: dict[str, list[bool]] = defaultdict(list)
    for (kind, probe), reply, old in zip(asked, replies, before, strict=True):
        unchanged = kind.startswith(LOCALITY)
        right[kind].append(reply.text == old.text if unchanged else match(reply.text, probe.answers))
    print(f"{name}: {seconds / len(asked):.4f} s an answer, {len(asked)} answers, {kept} bytes kept")
    for kind, values in sorted(right.items()):
        print(f"  {kind}: {sum(values) / len(values):.3f} ({len(values)})")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
