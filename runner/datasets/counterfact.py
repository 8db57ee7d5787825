"""CounterFact (ROME, arXiv 2202.05262) in its original layout and in the flat one of later editions.

Original: `requested_rewrite` (prompt with {}, subject, target_new, target_true, relation_id), `paraphrase_prompts`,
`neighborhood_prompts` (other subjects of which the old answer is true), `attribute_prompts` (other subjects of which
the new one is) and, in the portability edition (arXiv 2305.13172), `portability` with a question one step further.
Flat: `prompt`, `subject`, `target_new`, `ground_truth`, `rephrase_prompt`, `locality_prompt`, `locality_ground_truth`.
"""

from __future__ import annotations

from pathlib import Path

from runner.datasets import fields, hygiene
from runner.datasets.base import Info, Loaded, make_loaded, register
from runner.datasets.records import Record, read_records
from runner.datasets.sources import Published, locate
from runner.types import GENERALIZATION, LOCALITY, PORTABILITY, RELIABILITY, Case, Edit, Probe

PAGE = "https://rome.baulab.info/data/dsets/"
PUBLISHED = Published("", "", "*counterfact*.json", PAGE)
GENERATION = "prompts for free text, which no score here uses"
NEIGHBORHOOD = f"{LOCALITY}/neighborhood"
ATTRIBUTE = f"{LOCALITY}/attribute"
ONE_HOP = f"{PORTABILITY}/one_hop"
ORIGINAL_KEYS = ("requested_rewrite", "paraphrase_prompts", "neighborhood_prompts")
FLAT_KEYS = ("prompt", "target_new", "locality_prompt")
INFO = Info(
    "CounterFact: JSON, original layout (requested_rewrite …) or flat",
    "MIT",
    PAGE,
    (RELIABILITY, GENERALIZATION, ONE_HOP, ATTRIBUTE, NEIGHBORHOOD),
    "needed",
    (frozenset(ORIGINAL_KEYS), frozenset(FLAT_KEYS)),
)


@register("counterfact", INFO)
def load(path: str | Path | None, split: str | None = None, seed: int | None = None) -> Loaded:
    """CounterFact: unfinished sentences about real entities, with answers that are false.

    path: the file in either layout, a folder with it, or an address on the Hub (hf:owner/name@revision/file). split: a
    list of that name where the file's root is a dictionary of lists. seed: has no meaning here.

    Raises UserError, with the record's place, where the file is missing, cut off or of the wrong shape.
    """
    located = locate(path, PUBLISHED, split)
    tally = fields.Tally()
    cases = []
    for record in read_records(located.path, ("requested_rewrite", "target_new"), split):
        read = _read_original if "requested_rewrite" in record.data else _read_flat
        case = read(record, tally)
        if case is not None:
            tally.notes[hygiene.NO_OP] += hygiene.is_no_op(case)
            cases.append(case)
    notes = {**tally.notes, **hygiene.review(cases), **hygiene.census(cases)}
    return make_loaded(cases, located.source, tally.dropped, notes)


def read_rewrite(record: Record, data: dict[str, object], tally: fields.Tally) -> tuple[Edit, str] | None:
    """The edit of ROME's `requested_rewrite`, and its prompt's template; None where a part is empty.

    Raises UserError where a part is missing or of another shape.
    """
    template = fields.text(record, data, "prompt", tally)
    subject = fields.text(record, data, "subject", tally)
    new, old = fields.part(record, data, "target_new"), fields.part(record, data, "target_true")
    target = fields.text(record, new, "str", tally, fields.TRIMMED_TARGETS)
    before = fields.text(record, old, "str", tally)
    if not (template and subject and target):
        return None
    if template.count("{}") != 1:
        record.fail(f"the prompt {template!r} should hold '{{}}' once, where the subject goes.")
    relation = fields.text(record, data, "relation_id", tally) if isinstance(data.get("relation_id"), str) else ""
    prompt = template.replace("{}", subject)
    return Edit(subject, prompt, target, before or None, fields.statement(prompt, target), relation or None), template


def _read_original(record: Record, tally: fields.Tally) -> Case | None:
    data = record.data
    rewrite = read_rewrite(record, dict(fields.part(record, data, "requested_rewrite")), tally)
    if rewrite is None:
        tally.dropped[fields.NO_TARGET] += 1
        return None
    edit, _ = rewrite
    new, old = ((edit.target,),), ((edit.old,),) if edit.old else ()
    probes = [fields.probe(RELIABILITY, edit.prompt, new, tally)]
    for kind, key, truth in (
        (GENERALIZATION, "paraphrase_prompts", new),
        (NEIGHBORHOOD, "neighborhood_prompts", old),
        (ATTRIBUTE, "attribute_prompts", new),
    ):
        if key in data:
            probes += [fields.probe(kind, prompt, truth, tally) for prompt in fields.texts(record, data, key, tally)]
    probes.append(one_hop(record, tally))
    if "generation_prompts" in data:
        tally.notes[GENERATION] += len(fields.texts(record, data, "generation_prompts", tally))
    return _case(record, edit, probes)


def one_hop(record: Record, tally: fields.Tally) -> Probe | None:
    """The portability question of arXiv 2305.13172's editions of CounterFact and zsRE; None where there is none.

    It needs the new fact and one more that the model should know: two hops.
    """
    if "portability" not in record.data:
        return None
    data = fields.part(record, record.data, "portability")
    question = fields.question(fields.text(record, data, "New Question", tally), tally)
    truth = fields.answers(record, data.get("New Answer"), "New Answer", tally)
    return fields.probe(ONE_HOP, question, truth, tally, hops=2)


def _read_flat(record: Record, tally: fields.Tally) -> Case | None:
    read = fields.flat_edit(record, tally)
    if read is None:
        return None
    (edit, _), data = read, record.data
    rephrase = fields.text(record, data, "rephrase_prompt", tally)
    neighbour = fields.text(record, data, "locality_prompt", tally)
    truth = fields.answers(record, data.get("locality_ground_truth"), "locality_ground_truth", tally)
    new = ((edit.target,),)
    return _case(
        record,
        edit,
        [
            fields.probe(RELIABILITY, edit.prompt, new, tally),
            fields.probe(GENERALIZATION, rephrase, new, tally),
            fields.probe(NEIGHBORHOOD, neighbour, truth, tally),
        ],
    )


def _case(record: Record, edit: Edit, probes: list[Probe | None]) -> Case:
    return Case(f"counterfact-{record.index:05d}", (edit,), tuple(probe for probe in probes if probe is not None))
