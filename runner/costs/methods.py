"""What each method asks of memory and arithmetic, as its code is: which weights it copies, how often it passes the
model.

A method that is not in the table, such as a third party's, counts as its nearest base that is, and `exact` is False.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runner.costs.load import Load
from runner.costs.shape import Shape
from runner.costs.work import DOUBLE, SINGLE, Costs, Need

MINILM, CONTRIEVER = 22.7e6 * SINGLE, 109.5e6 * SINGLE  # bytes of the encoders
EMBEDDING = 384 * SINGLE
CONFIRMED = 12  # tokens of a confirmation's usual reply; the budget is larger


def settled(method: Any, hparams: dict[str, Any], shape: Shape) -> Any:
    """The method with its hyperparameters in force, without a model: it can be asked for its layers and settings."""
    bare = method.__new__(method)
    bare.lm, bare.seed = shape.bare, 0
    bare.hparams = bare._fill(method.validate(hparams))
    return bare


def need_of(
    method: Any, hparams: dict[str, Any], shape: Shape, itemsize: int, load: Load, device_memory: int | None = None
) -> Need:
    """What one method asks. device_memory: bytes of the accelerator; None: there is no memory but the machine's own.

    Raises UserError where the method can't be used on this model.
    """
    parts = getattr(method, "parts", None)
    if parts:
        first, second = (
            need_of(part, hparams.get(part.name, {}), shape, itemsize, load, device_memory) for part in parts
        )
        return _together(first, second)
    bare = settled(method, hparams, shape)
    costs = Costs(shape, itemsize, device_memory)
    table = _table()
    base = next(cls for cls in method.__mro__ if cls in table)
    need = table[base](bare, costs, load)
    # A subclass within the project is written with its base in mind; of others' nothing is known.
    need.exact = need.exact and method.__module__.startswith("runner.methods.")
    return need


def _together(first: Need, second: Need) -> Need:
    """A hybrid: one part changes the model, the other the prompt."""
    return Need(
        first.kept + second.kept, max(first.editing, second.editing), first.host + second.host,
        first.flops + second.flops, first.traffic + second.traffic, first.passes + second.passes,
        first.double + second.double, max(first.preparing, second.preparing),
        first.prepare_flops + second.prepare_flops, first.prepare_double + second.prepare_double,
        first.before + second.before, first.confirming + second.confirming, first.exact and second.exact,
    )  # fmt: skip


Rule = Callable[[Any, Costs, Load], Need]


def _table() -> dict[Any, Rule]:
    from runner.methods import (
        base,
        ft,
        grace,
        ice,
        ike,
        joint,
        lora,
        memit,
        mend,
        none,
        rect,
        rome,
        scr,
        ultraedit,
        wise,
    )
    from runner.methods.alphaedit import AlphaEdit
    from runner.methods.multihop import MultiHopSCR
    from runner.methods.retrain import Retrain

    return {
        none.Unedited: lambda m, c, n: Need(),
        ft.FineTuning: _fine_tuning,
        joint.JointTraining: _together_trained,
        Retrain: _retrained,
        lora.Adapters: _adapters,
        rome.Rome: _rome,
        rect.Rect: _rect,
        memit.Memit: _memit,
        AlphaEdit: _alphaedit,
        mend.Mend: _mend,
        ultraedit.UltraEdit: _ultraedit,
        grace.Grace: _grace,
        wise.Wise: _wise,
        ike.IKE: _ike,
        ice.ICE: _ice,
        scr.SCR: _scr,
        MultiHopSCR: _multihop,
        base.Method: lambda m, c, n: Need(exact=False),
    }


# -- training ----------------------------------------------------------------------------------------------------------


def _steps(need: Need, costs: Costs, tokens: float, places: float, above: float, steps: float) -> Need:
    """The need with the work of `steps` steps on so many tokens: forward through all blocks, backward through those
    above what is trained; places: predictions made."""
    blocks = costs.shape.n_layers
    need.flops = steps * costs.forward(tokens, blocks + above, 3 * places)
    need.traffic = steps * costs.weights(blocks + above)
    need.passes = steps * (blocks + 2 * above)
    return need


def _fine_tuning(m: Any, costs: Costs, n: Load) -> Need:
    down, above = costs.shape.down, costs.shape.n_layers - m.layer
    held = costs.held(n.row, above) + costs.logits(n.target + 1)
    editing = costs.adam(down) + SINGLE * down + held
    return _steps(Need(down * costs.itemsize, editing), costs, n.row, n.target, above, m.hparams.steps)


def _together_trained(m: Any, costs: Costs, n: Load) -> Need:
    down, above = costs.shape.down, costs.shape.n_layers - m.layer
    rows = min(m.hparams.batch_size, n.edits)
    editing = costs.adam(down) + costs.held(rows * n.row, above) + costs.logits(rows * (n.target + 1))
    # Per edit: each is seen once an epoch.
    return _steps(Need(down * costs.itemsize, editing), costs, n.row, n.target, above, m.hparams.epochs)


def _retrained(m: Any, costs: Costs, n: Load) -> Need:
    shape = costs.shape
    rows, tokens = min(m.hparams.batch_size, 2 * n.edits), (n.row + n.statement) / 2
    # Weights ask for gradients, so each linear map keeps its input too.
    held = costs.held(rows * tokens, shape.n_layers) * 1.3 + costs.logits(rows * tokens)
    need = Need(shape.n_values * costs.itemsize, costs.adam(shape.n_values) + held)
    return _steps(need, costs, n.row + n.statement, n.row, 2 * shape.n_layers, m.hparams.epochs)


def _adapters(m: Any, costs: Costs, n: Load) -> Need:
    shape, h = costs.shape, m.hparams
    values = h.rank * sum(a + b for a, b in shape.attended) * shape.n_layers
    beside = n.row * shape.n_layers * sum(3 * a + 2 * b for a, b in shape.attended) * SINGLE
    held = costs.held(n.row, shape.n_layers) + beside + costs.logits(n.target + 1)
    need = Need(values * SINGLE, values * 5 * SINGLE + held)
    return _steps(need, costs, n.row, n.target, shape.n_layers, h.steps)


# -- locate, then edit -------------------------------------------------------------------------------------------------


def _value(m: Any, costs: Costs, n: Load, layer: int) -> tuple[float, dict[str, float], float]:
    """Bytes, work and rows of looking for one value above `layer`."""
    h, shape = m.hparams, costs.shape
    templates = len(h.context_templates) if h.context_templates else 1 + sum(k for _, k in h.context_lengths)
    longest = 0.0 if h.context_templates else max(length for length, _ in h.context_lengths)
    rows, above = templates + 1, shape.n_layers - layer
    tokens = n.row + longest + 1
    held = costs.held(rows * n.tail, above) + costs.logits(templates * n.target + 1) + costs.cache(rows * tokens)
    flops = costs.forward(rows * n.tail, 2 * above, 3 * templates * n.target)
    first = costs.forward(rows * tokens, shape.n_layers)
    work = {
        "flops": first + h.v_num_grad_steps * flops,
        "traffic": h.v_num_grad_steps * costs.weights(2 * above),
        "passes": shape.n_layers + h.v_num_grad_steps * 3 * above,
    }
    return held + costs.moving(rows * tokens), work, rows


def _moments(m: Any, costs: Costs, layers: int) -> Need:
    """Measuring and factoring the second moments of some layers; where they are large they stay in host memory."""
    from runner.methods.moments import TOKENS_PER_BATCH, held_on_device

    w, tokens = costs.inner, m.hparams.mom2_n_tokens
    square, batch = w * w, min(tokens, TOKENS_PER_BATCH)
    all_held = layers * square * (SINGLE + DOUBLE)
    here = held_on_device(layers, int(w), costs.device_memory)
    at_once = layers if here else 1
    reading = max(costs.moving(batch), at_once * batch * w * (SINGLE + DOUBLE))
    # While one layer is factored: its moment in float64 and the factor, beside all moments and the factors before.
    factoring = 2 * square * DOUBLE + (square * (layers * SINGLE + (layers - 1) * DOUBLE) if here else 0)
    return Need(
        kept=all_held if here else 0.0,
        host=0.0 if here else all_held,
        preparing=max((at_once + 1) * square * DOUBLE + reading, factoring),
        prepare_flops=costs.forward(tokens, max(1, costs.shape.n_layers // 3)),
        prepare_double=layers * (2 * tokens * square + w**3 / 3),
    )


def _rome(m: Any, costs: Costs, n: Load) -> Need:
    down = costs.shape.down
    need = _moments(m, costs, 1) if m.hparams.mom2_adjustment else Need()
    held, work, _ = _value(m, costs, n, m.layer)
    need.kept += down * costs.itemsize
    need.editing = max(held, down * (2 * SINGLE + costs.itemsize))
    need.flops, need.traffic, need.passes = work["flops"], work["traffic"], work["passes"]
    need.double = 2 * costs.inner**2
    return need


def _rect(m: Any, costs: Costs, n: Load) -> Need:
    need = _rome(m, costs, n)
    # Each entry's relative change, the smallest of them with their places, and the update without those.
    need.editing = max(need.editing, costs.shape.down * (5 * SINGLE + 2 * (SINGLE + DOUBLE)))
    return need


def _memit(m: Any, costs: Costs, n: Load) -> Need:
    down, layers = costs.shape.down, m.layers
    need = _moments(m, costs, len(layers))
    held, work, rows = _value(m, costs, n, layers[-1])
    need.kept += len(layers) * down * costs.itemsize
    need.editing = max(held, down * (DOUBLE + SINGLE + costs.itemsize))
    keys = costs.forward(rows * n.row, 2 * len(layers) * (layers[-1] + 1))
    need.flops, need.traffic = work["flops"] + keys, work["traffic"]
    need.passes = work["passes"] + 2 * len(layers) * (layers[-1] + 1)
    need.double = len(layers) * (2 * costs.inner**2 + 2 * down)
    return need


def _alphaedit(m: Any, costs: Costs, n: Load) -> Need:
    """The null space is taken to be all directions but few, and finding it to take thrice its size again."""
    need = _memit(m, costs, n)
    w, layers, known = costs.inner, len(m.layers), min(n.edits, costs.inner)
    square, keys = w * w, layers * known * w * DOUBLE
    need.double = layers * (4 * square + 2 * costs.shape.down + known * known * w)
    need.prepare_double = layers * (2 * m.hparams.mom2_n_tokens * square + 9 * w**3)
    if need.host:
        need.host += keys
    else:
        need.kept += keys
        need.preparing = max(need.preparing, layers * square * (SINGLE + DOUBLE) + 3 * square * DOUBLE)
    return need


# -- others ------------------------------------------------------------------------------------------------------------


def _mend(m: Any, costs: Costs, n: Load) -> Need:
    shape, h, layers = costs.shape, m.hparams, m.layers
    each = [a * b for a, b in shape.maps]
    editor = sum(2 * (a + b) * min(h.rank, a + b) * (h.hidden + 1) for a, b in {*shape.maps}) * SINGLE
    above = shape.n_layers - min(layers)
    held = costs.held(n.row, above) * 1.3 + costs.logits(n.target + 1)
    made = (len(layers) * sum(each) + 2 * max(each)) * SINGLE
    need = Need(len(layers) * sum(each) * costs.itemsize + editor, max(held, made))
    return _steps(need, costs, n.row, n.target, above, 1)


def _ultraedit(m: Any, costs: Costs, n: Load) -> Need:
    shape = costs.shape
    modules = m.hparams.modules
    down = shape.down
    layers = [shape.n_layers // 2] * len(modules) if modules else m.layers
    above = shape.n_layers - min(layers)
    held = costs.held(n.row, above) * 1.3 + costs.logits(n.target + 1)
    need = Need(len(layers) * down * costs.itemsize, max(held, down * (DOUBLE + SINGLE + costs.itemsize)))
    return _steps(need, costs, n.row, n.target, above, 1)


def _grace(m: Any, costs: Costs, n: Load) -> Need:
    shape, h = costs.shape, m.hparams
    above = shape.n_layers - m.layer
    entries = n.edits * SINGLE * (1.5 * costs.inner + shape.hidden)
    held = costs.held(n.target, above) + costs.logits(n.target) + costs.cache(n.row)
    flops = costs.forward(n.row, shape.n_layers) + h.n_iter * costs.forward(n.target, 2 * above, 3 * n.target)
    return Need(
        entries,
        held + costs.moving(n.row),
        flops=flops,
        traffic=h.n_iter * costs.weights(2 * above),
        passes=shape.n_layers + h.n_iter * 3 * above,
    )


def _wise(m: Any, costs: Costs, n: Load) -> Need:
    shape, h = costs.shape, m.hparams
    down, above = shape.down, shape.n_layers - m.layer
    rows = (len(h.context_templates) if h.context_templates else 1 + sum(k for _, k in h.context_lengths)) + 1
    longest = 0.0 if h.context_templates else max(length for length, _ in h.context_lengths)
    tokens = n.row + longest
    memories = 2 + n.edits // h.save_freq if h.retrieve else 3 + h.merge_freq // h.save_freq
    held = costs.held(rows * tokens, above) + costs.logits(rows * (n.target + 1))
    training = down * (4 * SINGLE + 2 * costs.itemsize)
    flops = costs.forward(rows * tokens, shape.n_layers) + h.n_iter * costs.forward(
        rows * tokens, 2 * above, 3 * rows * n.target
    )
    return Need(
        memories * down * costs.itemsize + down,
        held + training,
        flops=flops,
        traffic=h.n_iter * (costs.weights(2 * above) + 6 * SINGLE * down),
        passes=shape.n_layers + h.n_iter * 3 * above,
    )


def _retriever(m: Any, n: Load) -> float:
    from runner.methods.retrieval import resolve_retriever

    name = resolve_retriever(m.hparams.retriever)
    size = 0.0 if name == "bm25" else CONTRIEVER if name == "contriever" else MINILM
    return size + n.edits * EMBEDDING


def _ice(m: Any, costs: Costs, n: Load) -> Need:
    from runner.methods.ice import MOST_CONTEXT_TOKENS

    return Need(before=min(m.hparams.context_tokens or MOST_CONTEXT_TOKENS, n.edits * n.statement))


def _ike(m: Any, costs: Costs, n: Load) -> Need:
    from runner.methods.ike import MOST_DEMONSTRATION_TOKENS

    shown = m.hparams.demonstration_tokens or MOST_DEMONSTRATION_TOKENS
    return Need(kept=_retriever(m, n), before=min(shown, m.hparams.k * (n.statement + n.asked)) + n.edits * n.statement)


def _scr(m: Any, costs: Costs, n: Load) -> Need:
    h = m.hparams
    found = min(h.k, n.edits)
    if not h.confirm:
        return Need(kept=_retriever(m, n), before=found * n.statement)
    asks = [(n.statement + n.asked + 12, CONFIRMED)] * found
    together = [(found * n.statement + n.asked + 12, CONFIRMED)]
    return Need(
        kept=_retriever(m, n), before=n.statement, confirming=[(a, float(b)) for a, b in asks if h.one_by_one]
        or [(a, float(b)) for a, b in together],
    )  # fmt: skip


def _multihop(m: Any, costs: Costs, n: Load) -> Need:
    need = _scr(m, costs, n)
    need.confirming = need.confirming * m.hparams.max_hops
    return need
