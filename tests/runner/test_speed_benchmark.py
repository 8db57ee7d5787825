"""The comparison with EasyEdit and the profile: their own logic, without a checkout."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.profiling.machine import Counting, Machine
from benchmarks.profiling.places import ORDER, PLACES
from benchmarks.profiling.regions import REST, Clock, Place, watching
from benchmarks.speed import ours, report, theirs
from benchmarks.speed.__main__ import chosen, given, main, numbers
from benchmarks.speed.settings import translate
from benchmarks.speed.world import World
from runner.datasets import base as datasets
from runner.fingerprint import fingerprint
from runner.models.lm import LanguageModel
from runner.protocol import get_protocol
from tests.models import tiny
from tests.runner import tiny_world


@pytest.fixture
def world(tmp_path: Path) -> World:
    lm = LanguageModel(tiny.model("llama"), tiny.tokenizer())
    loaded = datasets.load("zsre", tiny_world.save_data(tmp_path / "data.json", 4))
    return World(lm, get_protocol("wild", 5), loaded.cases)


def test_methods_and_numbers_are_read() -> None:
    assert chosen("rome, ft-m") == ["ROME", "FT-M"]
    assert chosen("") == [] and "WISE" in chosen(None)
    assert numbers("1,10") == [1, 10]
    assert given("ROME", ["v_lr=0.5", "n_iter=3"]) == {"v_lr": 0.5}
    for wrong in (lambda: chosen("ICE"), lambda: numbers("1,x"), lambda: numbers("0"), lambda: given("ROME", ["v_lr"])):
        with pytest.raises(SystemExit):
            wrong()


def test_a_folder_without_easyedit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="holds no easyeditor"):
        main([str(tmp_path)])


def test_ratios_are_taken_round_by_round() -> None:
    assert report.ratio([10.0, 30.0, 20.0], [1.0, 2.0, 4.0]) == report.Spread(5.0, 10.0, 15.0)
    assert str(report.Spread(0.5, 1.234, 123.4)) == "1.23 (0.5–123)"


def _side(seconds: list[float], said: int = 1) -> dict[str, Any]:
    times = [{"processor": s, "wall": 2 * s} for s in seconds]
    apart = {"processor": 0.2, "wall": 0.2}
    return {"prepare": {"processor": 1.0, "wall": 1.0}, "edits": times, "said": said, "apart": apart}


def test_the_first_edit_pays_for_what_is_made_once() -> None:
    side = _side([5.0, 1.0, 3.0])
    assert report.per_edit(side, "processor") == 2.0
    assert report.once(side, "processor") == 4.0
    assert report.per_edit(_side([5.0]), "processor") == 5.0


def test_rows_say_whether_a_goal_is_met() -> None:
    rounds = [
        {"ours": _side([1.0, 0.1]), "theirs": _side([1.0, 2.0])},
        {"ours": _side([1.0, 0.1]), "theirs": _side([1, 3])},
    ]
    row = report.edit_row("ROME", "locate-then-edit", rounds, [1e-5, 2e-4])
    table = report.edits_table([row, report.edit_row("WISE", "side memory", [rounds[0]], [])])
    assert row["processor"]["ratio"] == report.Spread(20.0, 25.0, 30.0) and row["goal"] == 10.0
    assert (
        "| 25 (20–30) | 0.2 (0.2–0.2) | 12.5 (10–15) | 10 | yes, yes |" in table
        and "1e-05, 2e-04" in table
        and "another algorithm" in table
    )
    asked = {"ours": {"processor": 1.0, "wall": 1.0, "answers": ["a", "b"]}}
    asked["theirs"] = {"processor": 9.0, "wall": 9.0, "answers": ["a", "c"]}
    row = report.other_row("answers", report.GOALS["answers"], [asked])
    assert row["equal"] == 0.5
    assert "| 9 (9–9) | 20 | no |" in report.others_table([row])


def test_our_hyperparameters_by_their_names() -> None:
    known = {"layers": [1], "num_steps": 25, "lr": 0.1, "norm_constraint": False, "kl_factor": 0}
    own = {"layer": 5, "steps": 7, "lr": 0.5, "norm_constraint": None, "min_loss": 0.01}
    assert translate(own, known, "") == {"lr": 0.5, "num_steps": 7, "layers": [5], "norm_constraint": False}
    wise = translate({"layer": 2, "alpha": 1, "beta": 2, "gamma": 3}, {"act_margin": [], "inner_params": []}, "h[2].w")
    assert wise == {"act_margin": [1, 2, 3], "inner_params": ["h[2].w"]}
    lora = translate({"alpha": 4.0, "rank": 2}, {"lora_type": "adalora", "layers": [], "lora_alpha": 1, "rank": 1}, "")
    assert lora == {"lora_type": "lora", "layers": [], "lora_alpha": 4.0, "rank": 2}


def test_edits_of_a_small_model_agree_with_themselves(world: World, tmp_path: Path) -> None:
    before = fingerprint(world.lm.model)
    left = {}
    for name, lr in (("a", 0.01), ("b", 0.01), ("c", 0.02)):
        found = ours.edit(world, "FT-M", 2, str(tmp_path / name), {"layer": 1, "lr": lr})
        left[name] = torch.load(tmp_path / name)
        assert len(found["edits"]) == 2 and len(left[name]) == 2 and found["said"] in (0, 1, 2)
        assert found["apart"]["processor"] > 0
    assert fingerprint(world.lm.model) == before
    assert [report.relative_difference(a, b) for a, b in zip(left["a"], left["b"], strict=True)] == [0.0, 0.0]
    assert report.relative_difference(left["a"][1], left["c"][1]) > 1e-3
    assert report.relative_difference(left["a"][1], left["c"][1][:-1]) == float("inf")
    book = tmp_path / "book"
    ours.edit(world, "GRACE", 1, str(book), {"layer": 1, "n_iter": 2})
    weight = world.lm.structure.mlp_out(1).weight
    assert torch.load(book)[0].shape == (sum(weight.shape) + 1,)  # a key, a value, a radius


EVALUATION = """
import nltk
from ..util import HyperParams

def generate_texts(model, tok, hparams, prompts, device):
    said = []
    for prompt in prompts:
        text = tok.apply_chat_template([{"role": "user", "content": prompt}], tokenize=False)
        row = tok(text, return_tensors="pt")["input_ids"]
        out = model.generate(input_ids=row, max_new_tokens=512, stop_strings=["."], tokenizer=tok, do_sample=False)
        said.append(tok.decode(out[0][row.shape[1]:], skip_special_tokens=True))
    return said
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """A folder with the two modules that asking needs, in the places where EasyEdit has them."""
    for name, content in (("util/hparams", "class HyperParams: ..."), ("evaluate/evaluate_utils", EVALUATION)):
        file = tmp_path / "easyeditor" / f"{name}.py"
        file.parent.mkdir(parents=True)
        file.write_text(content, encoding="utf-8")
    yield tmp_path
    assert not [name for name in sys.modules if name.startswith("easyeditor")]


def test_their_generation_is_asked_on_equal_terms(world: World, checkout: Path) -> None:
    sys.modules.pop("nltk", None)
    found = theirs.ask(world, 6, checkout)
    assert found["answers"] == ours.ask(world, 6)["answers"] and len(found["answers"]) == 6
    assert "generate" not in vars(world.lm.model) and "nltk" not in sys.modules


def test_time_belongs_to_the_innermost_region() -> None:
    ticks = iter(range(100))
    clock = Clock(now=lambda: float(next(ticks)))
    with clock.running(), clock.region("outer"):
        with clock.region("inner"), clock.region("deep"):
            pass
        with clock.region("closed", closed=True), clock.region("unseen"):
            pass
    seconds = {name: cost.seconds for name, cost in clock.costs.items()}
    assert seconds == {REST: 2.0, "outer": 3.0, "inner": 2.0, "deep": 1.0, "closed": 1.0}


def test_every_place_of_the_profile_is_there() -> None:
    clock = Clock()
    assert {place.region for place in PLACES} <= set(ORDER)
    with watching(clock, PLACES), clock.running():
        LanguageModel(tiny.model("llama"), tiny.tokenizer()).generate(["Where is Karn?"], 3)
    assert clock.costs["asking: prefill"].calls == 1 and clock.costs["tokenisation"].calls >= 2
    assert not hasattr(LanguageModel.generate, "__wrapped__")
    with pytest.raises(LookupError, match="no longer there"), watching(clock, [Place("runner.cells:Cell.gone", "x")]):
        pass


def test_the_least_time_of_a_matrix_product_is_counted() -> None:
    clock, machine = Clock(), Machine(flops=1e3, bandwidth=1e2, operation=1e-6)
    with Counting(clock, machine), clock.running(), clock.region("product"):
        torch.ones(10, 20) @ torch.ones(20, 5)
    cost = clock.costs["product"]
    assert cost.operations == 3
    assert cost.floor == pytest.approx(max(2 * 10 * 20 * 5 / 1e3, 4 * (10 * 20 + 20 * 5 + 10 * 5) / 1e2))


def test_an_editor_gets_our_contexts() -> None:
    main_module = types.SimpleNamespace(apply=lambda model, tokenizer, requests: requests)
    editor = types.SimpleNamespace(name="PMET", folder="pmet", main="main", apply="apply")
    checkout = types.SimpleNamespace(module=lambda folder, main: main_module)
    method = types.SimpleNamespace(editor=editor, _checkout=checkout)
    watches: list[Any] = []
    theirs._give(method, types.SimpleNamespace(hparams=object()), None, watches)  # type: ignore[arg-type]
    assert main_module.apply(None, None, [{"target_new": "Karn"}]) == [{"target_new": " Karn"}]
    assert len(watches) == 1
