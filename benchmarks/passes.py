"""What do the shortcuts of editing save?

    python -m benchmarks.passes [--model atlas] [--edits 16] [--repeats 15]

One step (forward and backward pass) of a value search (ROME's layer), of GRACE and of FT-L: the whole model each time,
what no change reaches handed out, and the blocks from there up called alone, as the methods do it. Then edits that are
each the first of a sequence: made alone, and worked out in one batch and then made; "differs" is there the middle and
the largest relative difference of what an edit changed. Then the questions of sequences of edits, free-running and
forced: apart, and with the targets scored in the pass that reads the questions; twice by turns, the quicker of both;
here "differ" counts answers. Processor time of one thread; of the steps the median, the ways of doing it by turns.
"differs" is the largest relative difference from the first way.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor

from runner.datasets import base as datasets
from runner.methods import registry
from runner.methods.base import Method, WeightMethod
from runner.methods.hooks import by_row, hidden, hooked, with_hidden
from runner.methods.in_network import pairs_of
from runner.methods.subject import Row, locate, tokenise
from runner.methods.tail import Tail, before_mlp_out, before_mlp_weight
from runner.models.lm import LanguageModel
from runner.protocol import Protocol, get_protocol
from runner.types import Case, Edit

TOGETHER = "ROME,MEMIT,GRACE,FT-M,FT-L,WISE,LoRA"
WAYS = ("whole model", "handed out", "blocks alone")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="atlas")
    parser.add_argument("--edits", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--methods", default=TOGETHER, help="of the second table")
    parser.add_argument("--cases", type=int, default=30, help="cases whose questions are asked")
    args = parser.parse_args()
    torch.set_num_threads(1)
    lm, protocol = LanguageModel.load(args.model), get_protocol("wild")
    edits = [case.edits[0] for case in datasets.load("atlas").cases[: args.edits]]
    print(f"{'one step, ms':14}" + "".join(f"{way:>14}" for way in WAYS) + f"{'differs':>10}")
    for name in ("ROME", "GRACE", "FT-L"):
        times, differs = by_turns(steps(lm, protocol, name, edits[0]), args.repeats)
        print(f"{name:14}" + "".join(f"{value * 1e3:14.1f}" for value in times) + f"{differs:10.0e}")
    head = "".join(f"{title:>14}" for title in ("alone", f"{len(edits)} together"))
    print(f"\n{'per edit, ms':14}{head}{'times':>8}{'differs: middle':>17}{'most':>8}")
    for name in args.methods.split(","):
        method = registry.get(name)(lm, protocol)
        method.prepare()
        print(f"{name:14}{together(method, edits)}", flush=True)
    print(f"\n{'asking, s':24}{'apart':>8}{'beside':>8}{'answers':>9}{'differ':>8}")
    cases = datasets.load("atlas").cases[: args.cases]
    for name, length in (("FT-M", 1), ("FT-M", len(cases)), ("ICE", 10), ("ICE", len(cases))):
        chosen = cases[:8] if length == 1 else cases
        apart_s, beside_s, n, differ = asking(registry.get(name)(lm, protocol), chosen, length)
        label = f"{name}, {length} in a row"
        print(f"{label:24}{apart_s:8.2f}{beside_s:8.2f}{n:9}{differ:8}")


def together(method: Method, edits: Sequence[Edit]) -> str:
    """A line: processor milliseconds per edit made alone, and worked out together and then made, twice by turns, the
    quicker of both; by how much what the edits left differs."""
    made_alone: list[Tensor] = []
    made_together: list[Tensor] = []
    seconds: tuple[list[float], list[float]] = [], []
    for _ in range(2):
        seconds[0].append(make(method, edits, made_alone))
        spent, method.ahead = clocked(lambda: method.foresee(edits))
        seconds[1].append(spent + make(method, edits, made_together))
        method.ahead = {}
    differs = [float((a - b).norm() / a.norm()) for a, b in zip(made_alone, made_together, strict=True)]
    alone, ahead = (min(own) / len(edits) * 1e3 for own in seconds)
    return f"{alone:14.0f}{ahead:14.0f}{alone / ahead:8.1f}{statistics.median(differs):17.0e}{max(differs):8.0e}"


def make(method: Method, edits: Sequence[Edit], left: list[Tensor]) -> float:
    """Processor seconds of each edit, made on the unedited model; what each left goes to `left`."""
    seconds = 0.0
    for edit in edits:
        seconds += clocked(partial(method.edit, [edit]))[0]
        left.append(change(method))
        method.undo()
    return seconds


@torch.no_grad()
def change(method: Any) -> Tensor:
    """What an edit left: changes of weights (ROME's family, fine-tuning), an entry's value (GRACE), the change of a
    memory (WISE), adapters (LoRA)."""
    if isinstance(method, WeightMethod):
        model = method.lm.model
        parts = [model.get_parameter(name) - method.original(name) for name in method.touched()]
    elif method.name == "GRACE":
        parts = [method.codebook[0].value]
    elif method.name == "WISE":
        parts = [method.bank.learning.weight - method.bank.original]
    else:
        parts = [value for name, value in method.lm.model.named_parameters() if "lora_" in name]
    return torch.cat([part.flatten() for part in parts])


def asking(method: Method, cases: Sequence[Case], length: int) -> tuple[float, float, int, int]:
    """Seconds of the questions of all sequences of so many cases: apart, beside; answers, and how many differ."""
    seconds, said = {False: [0.0, 0.0], True: [0.0, 0.0]}, {False: list[str](), True: list[str]()}
    method.prepare()
    for start in range(0, len(cases), length):
        own = cases[start : start + length]
        method.edit([edit for case in own for edit in case.edits])
        targets = {p.prompt: p.answers[0][0] for case in own for p in case.probes if p.answers and p.answers[0]}
        prompts = list(dict.fromkeys(p.prompt for case in own for p in case.probes))
        for turn, beside in itertools.product((0, 1), (False, True)):
            spent, texts = clocked(partial(ask, method, prompts, targets, beside))
            seconds[beside][turn] += spent
            said[beside] += texts * (turn == 0)
        method.undo()
    differ = sum(a != b for a, b in zip(said[False], said[True], strict=True))
    return min(seconds[False]), min(seconds[True]), len(said[True]), differ


def ask(method: Method, prompts: Sequence[str], targets: Mapping[str, str], beside: bool) -> list[str]:
    """What it says, free-running and forced; beside: both from one reading of the prompts."""
    with method.lm.remembering():
        method.expected = targets if beside else {}
        free = [reply.text for reply in method.answer(prompts)]
        return free + [forced.text for forced in method.force(list(targets), list(targets.values()))]


def steps(lm: LanguageModel, protocol: Protocol, name: str, edit: Edit) -> list[Callable[[], Tensor]]:
    """One step in each of the ways; each returns the gradient."""
    method: Any = registry.get(name)(lm, protocol)
    method.prepare()
    layer = method.layer
    ids, start = pairs_of(lm, method.protocol, edit)[0]
    if name == "FT-L":
        rows, constant = [Row(ids[:start], 0, ids[start : start + 1])], before_mlp_weight(lm, layer)
        weight = lm.model.get_parameter(lm.structure.mlp_weight(layer))
    else:
        constant = before_mlp_out(lm, layer)
        rows = [Row(ids[:-1], start - 1, ids[start:])]
        if name == "ROME":
            rows = [tokenise(lm, locate(edit, method.protocol).inside(template)) for template in method.templates()]
        weight = torch.zeros(lm.structure.hidden_size, device=lm.device)
    tails = [Tail(lm, rows, [], plain=True), Tail(lm, rows, constant, plain=True), Tail(lm, rows, constant)]

    def step(tail: Tail) -> Tensor:
        def add(module: Any, args: Any, output: Any) -> Any:
            before, at, after = by_row(hidden(output), len(rows)).tensor_split((tail.at, tail.at + 1), 1)
            return with_hidden(output, torch.cat([before, at + weight, after], 1))

        weight.requires_grad_(True)
        with ExitStack() as stack:
            stack.enter_context(torch.enable_grad())
            if name != "FT-L":
                stack.enter_context(hooked(lm.structure.mlp_out(layer).module, add))
            loss = torch.nn.functional.cross_entropy(tail.logits().float(), tail.targets)
            (gradient,) = torch.autograd.grad(loss, [weight])
        weight.requires_grad_(False)
        return gradient

    return [lambda tail=tail: step(tail) for tail in tails]  # type: ignore[misc]


def by_turns(ways: Sequence[Callable[[], Tensor]], repeats: int) -> tuple[list[float], float]:
    """The median seconds of each way, and the largest relative difference of their results from the first one's."""
    results = [[way(), way()][-1] for way in ways]  # the first pass is not like the others
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(repeats):
        for own, way in zip(times, ways, strict=True):
            own.append(clocked(way)[0])
    differs = max(float((result - results[0]).norm() / results[0].norm()) for result in results)
    return [statistics.median(own) for own in times], differs


def clocked(work: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds, and what came of it."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


if __name__ == "__main__":
    main()
