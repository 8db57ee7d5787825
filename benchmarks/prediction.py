"""How well does `run --dry-run` predict memory? Prediction against what torch's allocator was asked for, on the CPU.

    python -m benchmarks.prediction [--methods FT-M,ROME] [--hidden 256 --layers 6 --width 1024 --vocabulary 8000]

Makes a random Llama of that size, and for each method prepares it, makes two edits and asks eight questions for each of
16 cases (--cases) under a profiler that sees every tensor made and freed. Printed, in megabytes: what the method keeps,
the most that preparing, one edit and one batch of questions take beside it, and the whole peak with the weights, each
predicted and measured.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.commands.common import listed
from runner.costs.devices import KNOWN
from runner.costs.load import load_of
from runner.costs.methods import need_of
from runner.costs.predict import of_need
from runner.types import Case, Edit, Probe

METHODS = "FT-L,FT-M,LocFT-BF,retrain,LoRA,ROME,R-ROME,RECT,MEMIT,EMMET,PMET,AlphaEdit,MEND,UltraEdit,GRACE,WISE,ICE"
SETTINGS: dict[str, Any] = {
    "mom2_n_tokens": 4000, "epochs": 2, "steps": 2, "v_num_grad_steps": 3, "n_iter": 2, "nullspace_threshold": 1e6,
    "context_lengths": ((5, 5), (10, 5)),
}  # fmt: skip
NAMES = "Varnburg Ostrik Karn Paris London Rome Solthaven Tarek Mira Olm".split()
PARTS = ("preparing", "kept", "editing", "answering", "peak")


@dataclass
class Bytes:
    """Memory of tensors: at the highest while some work was done, and left when it ended."""

    peak: int
    left: int


def watch(work: Callable[[], Any]) -> Bytes:
    """Every tensor that `work` makes and frees on the CPU, added up."""
    from torch.profiler import ProfilerActivity, profile

    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as seen:
        work()
        gc.collect()
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return Bytes(peak, now)


def case(i: int) -> Case:
    """One edit, with eight questions."""
    name, target = NAMES[i % len(NAMES)], NAMES[(i + 3) % len(NAMES)]
    edit = Edit(name, f"What is the capital of {name}?", target, None, f"The capital of {name} is {target}.")
    probes = [Probe("reliability", f"What is the capital of {name} number {i} {j}?", ((target,),)) for j in range(8)]
    return Case(f"case-{i}", (edit,), tuple(probes))


def random_llama(hidden: int, layers: int, width: int, vocabulary: int, folder: Path) -> Any:
    """A random Llama in memory, its configuration in `folder`."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    from runner.conformance import sample
    from runner.models.lm import LanguageModel

    config = LlamaConfig(
        hidden_size=hidden, num_hidden_layers=layers, intermediate_size=width, num_attention_heads=hidden // 64 or 1,
        vocab_size=vocabulary, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    config.save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return LanguageModel(model, sample.tokenizer(), name=str(folder))


def compare(
    lm: Any, name: str, folder: Path, n_cases: int = 16, budget: int | None = None
) -> dict[str, tuple[float, float]]:
    """Part -> (predicted, measured), in bytes, with eight questions for each of `n_cases`. budget: tokens of an answer;
    None: as usual."""
    from dataclasses import replace

    from runner.conformance.kit import sample_hparams
    from runner.costs.shape import shape_of
    from runner.methods import moments, registry
    from runner.protocol import get_protocol

    cls, protocol, shape = registry.get(name), get_protocol("wild", budget), shape_of(str(folder))
    fields = cls.Hparams.model_fields
    texts = sample_hparams(cls, folder).get("mom2_texts")
    given = {k: v for k, v in {**SETTINGS, "mom2_texts": texts}.items() if k in fields and v is not None}
    if name == "MEND":
        given["steps"] = 0
    if "layer" in fields or "layers" in fields:
        given |= {"layer": 1} if "layer" in fields else {"layers": [1, 2]}
    if "mom2_texts" in fields and shape.width is not None and "mom2_n_tokens" in fields:
        (folder / "texts.txt").write_text("\n".join(_texts()), encoding="utf-8")
        given |= {"mom2_texts": str(folder / "texts.txt"), "mom2_n_tokens": max(4000, 2 * shape.width)}
    hparams = cls.validate(given).model_dump(mode="json")
    cases = [case(i) for i in range(n_cases)]
    edits = [case(0).edits[0], case(1).edits[0]]
    tokens = [len(ids) for ids in lm.encode([edit.prompt for edit in edits])]
    load = load_of(cases, [tuple(c.id for c in cases)], protocol, shape)
    # The estimate of a text's length is not what is looked at here.
    scale = (sum(tokens) / len(tokens)) / shape.tokens(sum(len(e.prompt) for e in edits) / len(edits))
    load = replace(load, **{k: getattr(load, k) * scale for k in ("prompt", "target", "tail", "statement", "asked")})
    need = need_of(cls, hparams, shape, lm.dtype.itemsize, replace(load, edits=2))
    predicted = of_need(need, shape, lm.dtype.itemsize, load, KNOWN["h200"])
    # Second moments measured before, for another method, would be found and not measured.
    os.environ["PALIMPSEST_CACHE"] = tempfile.mkdtemp(dir=folder)
    moments._known.pop(lm, None)
    method = cls(lm, protocol, hparams)
    prompts = [probe.prompt for c in cases for probe in c.probes]
    preparing = watch(method.prepare)

    def make(edit: Edit) -> None:
        method.edit([edit])
        method.settle()

    first, second = (watch(lambda edit=edit: make(edit)) for edit in edits)  # type: ignore[misc]
    asking = watch(lambda: (method.answer(prompts), method.force(prompts, ["Rome"] * len(prompts))))
    method.undo()
    kept = preparing.left + first.left + second.left
    editing = max(preparing.left + first.peak, preparing.left + first.left + second.peak) - kept
    weights = sum(p.numel() * p.element_size() for p in {id(p): p for p in lm.model.parameters()}.values())
    measured = {
        "preparing": preparing.peak, "kept": kept, "editing": editing, "answering": asking.peak,
        "peak": weights + max(preparing.peak, kept + editing, kept + asking.peak),
    }  # fmt: skip
    return {part: (float(getattr(predicted, part)), float(measured[part])) for part in PARTS}


def _texts() -> list[str]:
    import random

    from runner.conformance import sample

    rng = random.Random(0)
    return ["".join(rng.choices("abcdefghij klmnop qrstuvwxyz", k=60)) for _ in range(2000)] + sample.texts(400)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default=METHODS)
    for option, usual in (("hidden", 256), ("layers", 6), ("width", 1024), ("vocabulary", 8000), ("cases", 16)):
        parser.add_argument(f"--{option}", type=int, default=usual)
    args = parser.parse_args()
    print(f"| method | {' | '.join(f'{part}, predicted | measured' for part in PARTS)} | peak, ratio |")
    print("|---|" + "---:|" * (2 * len(PARTS) + 1))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lm = random_llama(args.hidden, args.layers, args.width, args.vocabulary, folder)
        for method in listed(args.methods):
            found = compare(lm, method, folder, args.cases)
            cells = [f"{value / 1e6:.1f}" for pair in found.values() for value in pair]
            print(f"| {method} | {' | '.join(cells)} | {found['peak'][0] / found['peak'][1]:.2f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
