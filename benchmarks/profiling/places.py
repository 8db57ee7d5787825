"""The regions of a cell, and the functions that make them."""

from __future__ import annotations

import torch

from benchmarks.profiling.regions import REST, Place

FORWARD, BACKWARD, OPTIMISER = "learning: forward", "learning: backward", "learning: optimiser"
SET_UP, CONTEXTS, LOSS = "learning: set-up", "learning: contexts", "learning: between passes"
KEYS, SOLVE, WRITE = "editing: keys", "editing: moments and solving", "editing: writing weights"
RETRIEVAL, TOKENS = "retrieval", "tokenisation"
PREFILL, DECODE, BETWEEN, FORCED = "asking: prefill", "asking: decoding", "asking: between passes", "forced answers"
FINITE, FINGERPRINT, UNDO = "checks: weights finite", "checks: fingerprint", "undo"
SIGNS, CHANGE, ABILITY = "signs of collapse", "signs: change of weights", "signs: ability"
STORING, SCORING, LOADING, FIRST = "storing", "scoring", "loading the model", "once: warm-up, moments"

ORDER = [
    CONTEXTS, SET_UP, FORWARD, BACKWARD, OPTIMISER, LOSS, KEYS, SOLVE, WRITE, RETRIEVAL, TOKENS, PREFILL, DECODE,
    BETWEEN, FORCED, FINITE, FINGERPRINT, UNDO, SIGNS, CHANGE, ABILITY, STORING, SCORING, LOADING, FIRST, REST,
]  # fmt: skip
EDITING = {CONTEXTS, SET_UP, FORWARD, BACKWARD, OPTIMISER, LOSS, KEYS, SOLVE, WRITE}
ASKING = {PREFILL, DECODE, BETWEEN, FORCED}
ONCE = {LOADING, FIRST, ABILITY}  # once per model, method or cell, whatever the number of sequences

PLACES = [
    Place("runner.methods.contexts:sample_templates", CONTEXTS),
    Place("runner.methods.tail:Tail.__init__", SET_UP),
    Place("runner.methods.tail:Tail.logits", FORWARD),
    Place("torch.nn:Module.__call__", FORWARD, when=torch.is_grad_enabled),
    Place("torch.autograd:grad", BACKWARD),
    Place("runner.methods.value:optimise_values", LOSS, closed=False),
    Place("runner.methods.side_training:train", LOSS, closed=False),
    Place("runner.methods.grace:Grace._learn", LOSS, closed=False),
    Place("runner.methods.ft:FineTuning._train", LOSS, closed=False),
    Place("runner.methods.joint:JointTraining._train", LOSS, closed=False),
    Place("runner.methods.lora:Adapters._train", LOSS, closed=False),
    Place("runner.methods.lora:Adapters._attach", SET_UP),
    Place("torch.optim:Adam.step", OPTIMISER),
    Place("runner.methods.hooks:at_subject", KEYS),
    Place("runner.methods.moments:moments", SOLVE),
    Place("runner.methods.moments:Moment.solve", SOLVE),
    Place("runner.methods.moments:Moment.factor", SOLVE),
    Place("runner.methods.moments:Moment.null_space", SOLVE),
    Place("runner.methods.memit:Memit.update", SOLVE),
    Place("runner.methods.locate_then_edit:LocateThenEdit.add", WRITE),
    Place("runner.methods.memory:Memory.add", RETRIEVAL),
    Place("runner.methods.memory:Memory.search", RETRIEVAL),
    Place("runner.models.lm:LanguageModel.encode", TOKENS),
    Place("runner.models.lm:LanguageModel.decode", TOKENS),
    Place("runner.models.batch:prefill", PREFILL),
    Place("runner.models.batch:forward", DECODE),
    Place("runner.models.lm:LanguageModel.generate", BETWEEN, closed=False),
    Place("runner.models.force:score_targets", FORCED),
    Place("runner.models.force:score_after", FORCED),
    Place("runner.fingerprint:not_finite", FINITE),
    Place("runner.fingerprint:fingerprint", FINGERPRINT),
    Place("runner.methods.base:WeightMethod.undo", UNDO),
    Place("runner.metrics.collapse:signs", SIGNS),
    Place("runner.metrics.collapse:weight_change", CHANGE),
    Place("runner.metrics.collapse:ability", ABILITY),
    Place("runner.engine:enter", STORING),
    Place("db.store:Store.save_sequence", STORING),
    Place("runner.scoring:score", SCORING),
    Place("runner.engine:Models.get", LOADING),
    Place("runner.execute:_Work.warm_up", FIRST),
]
