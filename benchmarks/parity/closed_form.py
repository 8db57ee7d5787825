"""UltraEdit: the same rows, normalised over the same edits, into the same maps."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from benchmarks.parity import world
from benchmarks.parity.bench import Batches, Bench, Comparison, comparison
from runner.methods.supervised import edit_pair
from runner.types import Edit

LAYERS = [1, 2]
LR = 1e-3  # in maps this narrow; published for maps of thousands of inputs is 1e-6
REFERENCE = "editor/ultraedit.py"


def longer(edit: Edit) -> Edit:
    """The edit with a target of several tokens: of one alone the reference's normalisation is not a number."""
    return Edit(edit.subject, edit.prompt, f"{edit.target}, {edit.subject}", edit.old, edit.statement, edit.relation)


@comparison("UltraEdit", needs=REFERENCE)
def ultraedit(bench: Bench) -> Comparison:
    editing = bench.checkouts.script(REFERENCE)
    loading = bench.checkouts.script("data/base.py").BaseDataset
    names = [bench.lm.structure.mlp_out(layer).module_name for layer in LAYERS]

    def row(edit: Edit) -> dict[str, Any]:
        """An edit as the reference's data sets give it: prompt and target without the last token, labels shifted."""
        pair = edit_pair(bench.lm, world.PROTOCOL, edit)
        ids = torch.tensor([pair.ids])
        labels = ids[:, 1:].clone()
        labels[:, : pair.start - 1] = -100
        return {"input_ids": ids[:, :-1], "attention_mask": torch.ones_like(labels), "labels": labels}

    def settings(size: int) -> Any:
        return SimpleNamespace(
            model=SimpleNamespace(edit_modules=names, name="parity", name_or_path="parity"),
            editor=SimpleNamespace(
                name="ultraedit", lr=LR, batch_size=128, token="ans", cache_dir=str(bench.scratch / "rows")
            ),
            dataset=SimpleNamespace(name="given", n_edits=size, batch_size=size),
            editor_device="cpu",
            num_seq=1,
        )

    def theirs(batches: Batches) -> None:
        lm = bench.lm
        lm.model.requires_grad_(True)
        sorter = loading.__new__(loading)
        sorter.device = "cpu"
        # Its start reads a tokenizer by the model's name, and nothing after that uses it.
        editor = editing.ULTRAEDIT.__new__(editing.ULTRAEDIT)
        editing.BaseEditor.__init__.__globals__["AutoTokenizer"] = SimpleNamespace(from_pretrained=lambda name: None)
        editor.__init__(settings(len(batches[0])), lm.model)
        for batch in batches:
            editor.config = settings(len(batch))
            sorter.config = editor.config.dataset
            tuples = sorter.collate_fn([{"edit": row(edit)} for edit in batch])
            editor.cache(tuples["edit"])
            editor.edit_model(editor.predict_param_shifts(), False)
        lm.model.zero_grad(set_to_none=True)

    return Comparison({"layers": LAYERS, "lr": LR, "batch_size": 5}, theirs, adapt=longer)
