"""Do the methods here change a model as their reference implementations do?

    python -m benchmarks.parity CHECKOUT [CHECKOUT ...] [--family gpt2 --family llama] [--method ROME ...] [--json]

A checkout is a clone of github.com/zjunlp/EasyEdit (whose editors run on present releases of transformers without a
GPU; give it first) or of another repository that a method's comparison names; methods whose reference is in none of
them are left out and named. Two copies of one small model, trained for seconds on invented facts, get the same edits:
one by this project, one by the checkout's own code, in float32. Printed per edit: |dW_ours - dW_reference| /
|dW_reference|. Exit code 1 when one is not below 1e-3.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.parity import closed_form, constrained_edit, fine_tuning, in_network, locate_then_edit
from benchmarks.parity.bench import COMPARISONS, benches, compare
from benchmarks.parity.checkout import Checkouts

LIMIT = 1e-3
FAMILIES = ("gpt2", "llama")
MODULES = (locate_then_edit, constrained_edit, fine_tuning, in_network, closed_form)  # what fills COMPARISONS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", type=Path, nargs="+", metavar="CHECKOUT", help="path of a reference's checkout")
    parser.add_argument("--family", action="append", choices=FAMILIES, help="default: both")
    parser.add_argument("--method", action="append", choices=list(COMPARISONS), help="default: all")
    parser.add_argument("--steps", type=int, default=300, help="training steps of the small model (0: random weights)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    checkouts = Checkouts(args.checkouts)
    asked = args.method or list(COMPARISONS)
    served = []
    for label in asked:
        absent = [file for file in COMPARISONS[label].needs if not checkouts.has(file)]
        if absent:
            print(f"{label} is left out: no checkout given holds {absent[0]}.", file=sys.stderr)
        else:
            served.append(label)
    rows = []
    with benches(args.family or FAMILIES, checkouts, args.steps) as made:
        for bench, edits in made:
            for label in served:
                rows += compare(bench, label, edits)
    print(json.dumps(rows, indent=1) if args.json else table(rows))
    return int(not rows or any(not r["relative_difference"] < LIMIT for r in rows))


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as text."""
    lines = [f"{'family':7}{'method':12}{'edits':15}{'|dW| ref':>9}{'taken':>7}{'relative difference':>21}"]
    for r in rows:
        figures = f"{r['norm']:9.3f}{r['taken']:7.2f}{r['relative_difference']:21.1e}"
        lines.append(f"{r['family']:7}{r['method']:12}{r['edits']:15}{figures}")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
