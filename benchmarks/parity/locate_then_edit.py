"""ROME, MEMIT and their kin: same second moments, same contexts, same settings on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.parity.bench import Batches, Bench, Comparison, comparison
from benchmarks.parity.checkout import names_of_parts
from runner.methods.contexts import sample_templates
from runner.methods.moments import Moment, measure

N_TOKENS = 8_000
LAYER, LAYERS = 0, [0, 1]
STEPS = 25
RIDGE = 1e-2  # part of the second moments both sides get: keys of so small a model are far from spanning its width
WEIGHT = 100  # of the second moment
EASYEDIT = "easyeditor/models"


def own_settings(bench: Bench, templates: Sequence[str], **more: Any) -> dict[str, Any]:
    """Hyperparameters here."""
    return {
        "mom2_texts": str(bench.text_file),
        "mom2_n_tokens": N_TOKENS,
        "mom2_ridge": RIDGE,
        "v_num_grad_steps": STEPS,
        "context_templates": list(templates),
        **more,
    }


def reference_settings(bench: Bench, ridge: float = RIDGE, **more: Any) -> dict[str, Any]:
    """What the settings of the references' editors share."""
    return {
        **names_of_parts(bench.lm),
        "fact_token": "subject_last",
        "v_num_grad_steps": STEPS,
        "v_lr": 0.5,
        "v_loss_layer": bench.lm.structure.n_layers - 1,
        "v_weight_decay": 1e-3,
        "clamp_norm_factor": 4,
        "kl_factor": 0.0625,
        "mom2_adjustment": True,
        "mom2_dataset": "given",
        "mom2_n_samples": N_TOKENS,
        "mom2_dtype": "float32",
        "device": "cpu",
        "model_name": "parity",
        "stats_dir": str(_moments(bench, ridge)),
        **more,
    }


def _moments(bench: Bench, ridge: float) -> Any:
    """The folder with our second moments in the files in which the reference looks for its own."""
    stats, lm = bench.scratch / f"stats-{ridge:g}", bench.lm
    folder = stats / "parity" / "given_stats"
    if folder.is_dir():
        return stats
    folder.mkdir(parents=True)
    lm.model.config._name_or_path = "parity"  # by which the reference looks for them
    texts = bench.text_file.read_text(encoding="utf-8").splitlines()
    for layer, matrix in measure(lm, sorted({LAYER, *LAYERS}), texts, N_TOKENS).items():
        name = lm.structure.mlp_out(layer).module_name
        matrix = Moment(matrix, N_TOKENS, layer).ridged(ridge).float()
        np.savez(
            folder / f"{name}_float32_mom2_{N_TOKENS}.npz",
            **{
                "mom2.constructor": "easyeditor.util.runningstats.SecondMoment()",
                "mom2.count": N_TOKENS,
                "mom2.mom2": (matrix * N_TOKENS).numpy(),
                "sample_size": N_TOKENS,
            },
        )
    return stats


def rome_settings(bench: Bench, name: str = "rome", upper: str = "ROME") -> Any:
    """The settings of the reference's ROME, or of another editor that takes the same, by its names."""
    make = getattr(bench.checkouts.module(f"{EASYEDIT}/{name}/{name}_hparams.py"), f"{upper}HyperParams")
    return make(layers=[LAYER], context_template_length_params=[], alg_name=upper, **reference_settings(bench))


def rome_templates(bench: Bench) -> list[str]:
    """Contexts as ROME samples them."""
    return sample_templates(bench.lm, ((5, 10), (10, 10)), 0)


def memit_templates(bench: Bench) -> list[str]:
    """Contexts as MEMIT samples them."""
    return sample_templates(bench.lm, ((10, 5),), 0)


@comparison("ROME", needs=f"{EASYEDIT}/rome/rome_main.py")
def rome(bench: Bench) -> Comparison:
    return _rome(bench, "rome", rome_settings(bench))


@comparison("R-ROME", needs=f"{EASYEDIT}/r_rome/r_rome_main.py")
def r_rome(bench: Bench) -> Comparison:
    return _rome(bench, "r_rome", rome_settings(bench, "r_rome", "R_ROME"))


def _rome(bench: Bench, name: str, settings: Any) -> Comparison:
    """ROME, or the one that differs in its keys, by the name of the reference's files."""
    folder, templates = f"{EASYEDIT}/{name}", rome_templates(bench)
    main = bench.checkouts.module(f"{folder}/{name}_main.py")
    moments = bench.checkouts.module(f"{folder}/compute_u.py").inv_mom2_cache
    apply = getattr(main, f"apply_{name}_to_model")

    def theirs(batches: Batches) -> None:
        main.CONTEXT_TEMPLATES_CACHE = templates
        moments.clear()
        for edit in [edit for batch in batches for edit in batch]:
            apply(bench.lm.model, bench.tokenizer, bench.requests([edit]), settings)

    return Comparison(own_settings(bench, templates, layer=LAYER), theirs)


@comparison("MEMIT", needs=f"{EASYEDIT}/memit/memit_main.py")
def memit(bench: Bench) -> Comparison:
    folder, templates = f"{EASYEDIT}/memit", memit_templates(bench)
    main = bench.checkouts.module(f"{folder}/memit_main.py")
    settings = bench.checkouts.module(f"{folder}/memit_hparams.py").MEMITHyperParams(
        layers=LAYERS,
        layer_selection="all",
        mom2_update_weight=WEIGHT,
        alg_name="MEMIT",
        **reference_settings(bench),
    )

    def theirs(batches: Batches) -> None:
        main.CONTEXT_TEMPLATES_CACHE = [templates[:1], templates[1:]]
        main.COV_CACHE.clear()
        for batch in batches:
            main.apply_memit_to_model(bench.lm.model, bench.tokenizer, bench.requests(batch), settings)

    return Comparison(own_settings(bench, templates, layers=LAYERS, mom2_update_weight=WEIGHT), theirs)


@comparison("EMMET", needs=f"{EASYEDIT}/emmet/emmet_main.py")
def emmet(bench: Bench) -> Comparison:
    folder, templates = f"{EASYEDIT}/emmet", memit_templates(bench)
    main = bench.checkouts.module(f"{folder}/emmet_main.py")
    weights = {"mom2_update_weight": 10, "emmet_lambda": 0.1}
    settings = bench.checkouts.module(f"{folder}/emmet_hparams.py").EMMETHyperParams(
        layers=LAYERS, layer_selection="all", alg_name="EMMET", **weights, **reference_settings(bench)
    )

    def theirs(batches: Batches) -> None:
        main.CONTEXT_TEMPLATES_CACHE = [templates[:1], templates[1:]]
        main.COV_CACHE.clear()
        for batch in batches:
            main.apply_emmet_to_model(bench.lm.model, bench.tokenizer, bench.requests(batch), settings)

    return Comparison(own_settings(bench, templates, layers=LAYERS, **weights), theirs)


@comparison("PMET", needs=f"{EASYEDIT}/pmet/pmet_main.py")
def pmet(bench: Bench) -> Comparison:
    folder, templates = f"{EASYEDIT}/pmet", memit_templates(bench)
    main = bench.checkouts.module(f"{folder}/pmet_main.py")
    names = names_of_parts(bench.lm)
    attention = bench.lm.structure.attn_out(0).module_name
    parts = {
        "rewrite_module_tmps": [names["rewrite_module_tmp"]],
        "mlp_module_tmp": names["rewrite_module_tmp"],
        "attn_module_tmp": names["layer_module_tmp"] + attention.removeprefix(bench.lm.structure.block_names[0]),
        "v_weight_decay": 0.5,
    }
    shared = reference_settings(bench, **parts)
    settings = bench.checkouts.module(f"{folder}/pmet_hparams.py").PMETHyperParams(
        layers=LAYERS,
        layer_selection="all",
        mom2_update_weight=WEIGHT,
        nll_loss_factor=1,
        alg_name="PMET",
        **shared,
    )

    def theirs(batches: Batches) -> None:
        main.CONTEXT_TEMPLATES_CACHE = [templates[:1], templates[1:]]
        main.COV_CACHE.clear()
        for batch in batches:
            requests = bench.requests(batch)
            for request in requests:  # it puts the space before a target only for models called "gpt"
                request["target_new"] = " " + request["target_new"]
            main.apply_pmet_to_model(bench.lm.model, bench.tokenizer, requests, settings)

    own = own_settings(bench, templates, layers=LAYERS, mom2_update_weight=WEIGHT, clamp_norm_factor=4)
    return Comparison(own, theirs)
