"""EasyEdit's side of the comparison: its own functions, reached as the adapter reaches them."""

from __future__ import annotations

import contextlib
import copy
import importlib
import importlib.util
import os
import sys
import tempfile
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.speed.ours import count_said, layers_of
from benchmarks.speed.settings import OURS, translate
from benchmarks.speed.world import Stopwatch, World
from runner.methods.easyedit.checkout import PACKAGE, _bare
from runner.methods.easyedit.settings import in_brackets
from runner.types import LOCALITY, PORTABILITY, Case, Probe

# Imported at the top of its evaluation, and used by nothing that runs here.
ABSENT = {
    "nltk": (), "openai": ("OpenAI",), "easyeditor.trainer": (), "easyeditor.models.melo.melo": ("LORA",),
    "easyeditor.util.alg_dict": ("ALG_DICT",),
}  # fmt: skip


def _method(world: World, name: str, hparams: dict[str, Any]) -> tuple[Any, Any]:
    """Its editor with our hyperparameters, and our own method of that name."""
    ours = world.method(name, OURS.get(name, {}) | hparams)
    label = f"easyedit:{name}"
    known = world.method(label)._settings
    layer = getattr(ours, "layer", 0) if "inner_params" in known else 0
    module = in_brackets(world.lm.structure.mlp_weight(layer))
    method = world.method(label, {"settings": translate(ours.resolved_hparams(), known, module)})
    return method, ours


def _give(method: Any, ours: Any, world: World, watch: list[Stopwatch] | None) -> Any:
    """Give its module our contexts, and put a stopwatch around its entry point; returns the entry point."""
    editor = method.editor
    main = method._checkout.module(editor.folder, editor.main)
    lengths = getattr(ours.hparams, "context_lengths", None)
    if lengths:
        from runner.methods.contexts import sample_templates

        templates = sample_templates(world.lm, lengths, 0)
        if editor.name == "WISE":
            main.get_context_templates = lambda *_, **__: templates
        else:
            flat = editor.name in ("ROME", "R-ROME")
            main.CONTEXT_TEMPLATES_CACHE = templates if flat else [templates[:1], templates[1:]]
    entry = getattr(main, editor.apply)
    if watch is None:
        return entry

    def timed(model: Any, tokenizer: Any, requests: Any, *args: Any, **kwargs: Any) -> Any:
        # What an edit draws first (a value's start, a subspace) is drawn as ours draws it.
        torch.manual_seed(len(watch))
        np.random.seed(len(watch))
        if editor.name == "PMET":  # it puts the space before a target only for models called "gpt"
            requests = [{**one, "target_new": " " + one["target_new"]} for one in requests]
        with Stopwatch() as one:
            out = entry(model, tokenizer, requests, *args, **kwargs)
        watch.append(one)
        return out

    setattr(main, editor.apply, timed)
    return entry


def edit(world: World, name: str, n: int, save: str | None, hparams: dict[str, Any]) -> dict[str, Any]:
    """As ours; only the editor's entry point is timed, and `prepare` is what the adapter does for it."""
    method, ours = _method(world, name, hparams)
    edits = world.edits(n)
    before, left = world.copy(layers_of(ours)), []
    watches: list[Stopwatch] = []
    try:
        with Stopwatch() as prepare:
            method.prepare()
        with method._editing():
            _give(method, ours, world, watches)
        for one in edits:
            method.edit([one])
            if save and len(watches) in (1, n):
                left.append(_codebook(method, world) if name == "GRACE" else world.change(before))
        said = count_said(method, edits)
    finally:
        method.undo()
    if save:
        torch.save(left, save)
    return {"prepare": prepare.times(), "edits": [watch.times() for watch in watches], "said": said}


def _codebook(method: Any, world: World) -> torch.Tensor:
    name = method._values.inner_params[0].replace("[", ".").replace("]", "").removesuffix(".weight")
    book: Any = world.lm.model.get_submodule(name)
    return torch.cat([part.detach().flatten() for part in (book.keys, book.values, book.epsilons)])


@contextlib.contextmanager
def evaluation(home: Path) -> Iterator[Any]:
    """Its module of evaluation functions, imported without the package's start-up."""
    own = {name: sys.modules[name] for name in sys.modules if _is_its(name)}
    made = [name for name in ABSENT if "." in name or _missing(name)]
    try:
        for name in ("", ".models", ".models.melo", ".util", ".evaluate", ".editors"):
            if PACKAGE + name not in sys.modules:
                _bare(PACKAGE + name, home)
        for name in made:
            sys.modules[name] = types.ModuleType(name)
            vars(sys.modules[name]).update({attribute: type(attribute, (), {}) for attribute in ABSENT[name]})
        _hand_up("util", "hparams")
        vars(sys.modules[f"{PACKAGE}.evaluate"])["compute_sent_metric"] = None  # of sentiment, which nothing asks for
        yield importlib.import_module(f"{PACKAGE}.evaluate.evaluate_utils")
    finally:
        for name in [*filter(_is_its, list(sys.modules)), *made]:
            sys.modules.pop(name, None)
        sys.modules.update(own)


def _missing(name: str) -> bool:
    return name not in sys.modules and importlib.util.find_spec(name) is None


def _is_its(name: str) -> bool:
    return name == PACKAGE or name.startswith(PACKAGE + ".")


def _hand_up(package: str, *modules: str) -> None:
    """What a package's own start-up would do: its modules' names become the package's."""
    for module in modules:
        found = importlib.import_module(f"{PACKAGE}.{package}.{module}")
        vars(sys.modules[f"{PACKAGE}.{package}"]).update(
            {name: value for name, value in vars(found).items() if not name.startswith("_")}
        )


@contextlib.contextmanager
def equal_terms(world: World, tokenizer: Any, as_shipped: bool = False) -> Iterator[None]:
    """Its generation asks our prompts as they are, with our budget and stop rule; as_shipped: with its own."""
    model = world.lm.model
    tokenizer.apply_chat_template = lambda messages, **_: messages[-1]["content"]
    own = model.generate

    def generate(**options: Any) -> Any:
        options |= {"max_new_tokens": world.protocol.max_new_tokens}
        options.pop("stop_strings", None)
        options.pop("tokenizer", None)
        return own(**options)

    if not as_shipped:
        model.generate = generate
    try:
        yield
    finally:
        vars(model).pop("generate", None)
        vars(tokenizer).pop("apply_chat_template", None)


def ask(world: World, n: int, home: Path) -> dict[str, Any]:
    """Answer questions by its `generate_texts`: one at a time, without a cache."""
    texts, tokenizer = [text for text, _ in world.questions(n)], copy.deepcopy(world.lm.tokenizer)
    with evaluation(home) as utils, equal_terms(world, tokenizer), torch.no_grad():
        with Stopwatch() as watch:
            answers = utils.generate_texts(world.lm.model, tokenizer, None, texts, "cpu")
    return {**watch.times(), "answers": [answer.strip() for answer in answers]}


def force(world: World, n: int, home: Path) -> dict[str, Any]:
    """Score targets by its `test_prediction_acc`, one question a call, as its evaluation does."""
    tokenizer = copy.deepcopy(world.lm.tokenizer)
    settings = types.SimpleNamespace(max_length=40)
    with evaluation(home) as utils:
        with Stopwatch() as watch:
            shares = [
                utils.test_prediction_acc(world.lm.model, tokenizer, settings, text, target, "cpu")
                for text, target in world.questions(n)
            ]
    return {**watch.times(), "answers": [round(float(share[0]), 4) for share in shares]}


def job(world: World, name: str, counts: Sequence[int], home: Path) -> dict[str, Any]:
    """Its editor's own loop over all cases, once per number of edits.

    One edit: each case edited, asked and undone. More: sequences of so many, each case asked right after its edit. The
    answers before editing are made once and handed on to the later runs, which it allows; going back to the unedited
    model between sequences, which it leaves to its user, is not timed.
    """
    total, asked, known = Stopwatch(), [0], None
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for count in counts:
            metrics: list[Any] = []
            for start in range(0, max(counts), count):
                part = world.cases[start : min(start + count, max(counts))]
                method, ours = _method(world, name, {})
                method.prepare()
                with method._editing():
                    apply = _give(method, ours, world, None)
                    method._values.evaluation_type = "LLM-judge"  # by exact match where there is no key for a judge
                    requests = [_request(world, method, case) for case in part]
                    with evaluation(home) as utils, equal_terms(world, method._tokenizer):
                        _count(utils, asked)
                        _hand_up("evaluate", "evaluate_utils", "metric_meta", "evaluate")
                        loop = importlib.import_module(f"{PACKAGE}.editors.editor").BaseEditor
                        editor = loop.__new__(loop)
                        vars(editor).update(
                            model=world.lm.model, tok=method._tokenizer, hparams=method._values, apply_algo=apply,
                            alg_name=method._values.alg_name, model_name=method._values.model_name, device="cpu",
                        )  # fmt: skip
                        before = None if known is None else copy.deepcopy(known[start : start + count])
                        with total:
                            done, _, _ = editor.edit_requests(
                                requests, sequential_edit=count > 1, verbose=False, pre_edit=before
                            )
                        metrics += [{"pre": copy.deepcopy(one["pre"])} for one in done]
                method.undo()
            known = known or metrics
    return {**total.times(), "asked": asked[0]}


def _count(utils: Any, asked: list[int]) -> None:
    """Count the questions that its evaluation has generated answers to."""
    own = utils.generate_texts

    def counted(model: Any, tok: Any, hparams: Any, prompts: Any, device: Any) -> Any:
        asked[0] += 1 if isinstance(prompts, str) else len(prompts)
        return own(model, tok, hparams, prompts, device)

    utils.generate_texts = counted


def _request(world: World, method: Any, case: Case) -> dict[str, Any]:
    """A case as its editor takes it: every probe in the place that fits."""
    request: dict[str, Any] = method.request(case.edits[0])
    fact = case.edits[0]
    groups: dict[str, dict[str, list[tuple[str, str]]]] = {PORTABILITY: {}, LOCALITY: {}}
    for probe in case.probes:
        place = LOCALITY if probe.kind.startswith(LOCALITY) else PORTABILITY
        groups[place].setdefault(probe.kind, []).append((world.protocol.render(probe.prompt), _truth(probe)))
    request |= {"prompt": world.protocol.render(fact.prompt), "subject": fact.subject.strip()}
    for place, kinds in groups.items():
        request[place] = {
            kind: {"prompt": [text for text, _ in asked], "ground_truth": [truth for _, truth in asked]}
            for kind, asked in kinds.items()
        }
    return request


def _truth(probe: Probe) -> str:
    return probe.answers[0][0] if probe.answers else ""


def start_up() -> str | None:
    """Why `import easyeditor` itself does not work here, in one line; None when it does."""
    home = Path(os.environ["EASYEDIT_HOME"])
    sys.path.insert(0, str(home))
    try:
        importlib.import_module(PACKAGE)
    except Exception as error:  # any of its nearly hundred packages may be missing
        return f"{type(error).__name__}: {error}"
    finally:
        sys.path.remove(str(home))
        for name in [*filter(_is_its, list(sys.modules))]:
            sys.modules.pop(name, None)
    return None
