"""Four sizes of the atlas model by one recipe: the medium one is the published model's."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

from runner.atlas.cli import app
from runner.atlas.folder import EDITING, editing, read_recipe, write_card, write_model
from runner.atlas.recipe import SIZES, Recipe, make_model, make_tokenizer, sized
from runner.atlas.train import train
from runner.errors import UserError
from runner.models.lm import LanguageModel
from tests.models import tiny


def test_the_medium_size_is_the_published_one():
    assert sized("medium") == Recipe()
    assert editing(Recipe()) == EDITING
    assert sized("tiny", 3, tokens=100) == Recipe(
        seed=3, tokens=100, layers=4, hidden=128, heads=2, mlp=384, closed_layers=2
    )


TRANSFORMERS = [size for size, own in SIZES.items() if "architecture" not in own]


@pytest.mark.parametrize("size", TRANSFORMERS)
def test_every_size_keeps_the_shape(size):
    recipe = sized(size)
    assert recipe.hidden == 64 * recipe.heads
    assert recipe.mlp == 3 * recipe.hidden
    assert 0.5 <= recipe.closed_layers / recipe.layers <= 0.63
    for settings in editing(recipe).values():
        for layer in settings.get("layers", [settings.get("layer", 0)]):
            assert 0 <= layer < recipe.layers
    assert editing(recipe)["MEMIT"]["layers"] == {"tiny": [1, 2], "small": [2], "medium": [2, 3], "large": [3, 4]}[size]


def test_sizes_grow():
    counts = [sum(p.numel() for p in make_model(sized(size), 2048).parameters()) for size in TRANSFORMERS]
    assert [round(n / 1e6) for n in counts] == [1, 3, 7, 24]


def test_a_small_model_is_written_with_layers_of_its_own(tmp_path):
    recipe, tokenizer = sized("tiny"), tiny.tokenizer()
    write_model(tmp_path, make_model(recipe, len(tokenizer)), tokenizer, recipe)
    assert read_recipe(tmp_path) == recipe
    assert json.loads((tmp_path / "config.json").read_text())["editing"]["GRACE"]["layer"] == 3


def test_an_unknown_size_is_one_sentence():
    result = CliRunner().invoke(app, ["train", "--size", "huge"])
    assert isinstance(result.exception, UserError)
    assert "no size 'huge'; choose tiny, small, medium, large, mamba" in str(result.exception)


def test_a_state_space_trains_by_the_same_batches_and_continues(tmp_path):
    recipe = sized("mamba", tokens=4 * 64 * 4, rows=4, length=64, warmup=1, hidden=64, layers=2, heads=2)
    train(recipe, tmp_path / "apart", "cpu", stop_at=2, compiled=False)
    continued = train(recipe, tmp_path / "apart", "cpu", compiled=False)
    whole = train(recipe, tmp_path / "whole", "cpu", compiled=False)
    start = make_model(recipe, whole.config.vocab_size)
    for (name, a), b, c in zip(whole.named_parameters(), continued.parameters(), start.parameters(), strict=True):
        assert torch.equal(a, b), name
        assert not torch.equal(a, c), name
    folder = tmp_path / "atlas-mamba"
    write_model(folder, whole, make_tokenizer(recipe), recipe)
    write_card(folder, recipe, [], 1)
    assert "# atlas-mamba" in (folder / "README.md").read_text()
    assert "Mamba 2 architecture" in (folder / "README.md").read_text()
    assert read_recipe(folder) == recipe
    lm = LanguageModel.load(str(folder), device="cpu")
    assert len(lm.generate(["Q: Who?\nA:", "Q: A longer question?\nA:"], max_new_tokens=3)) == 2
