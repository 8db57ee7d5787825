"""Names and explanations of everything the board shows, in one place."""

from __future__ import annotations

from runner.metrics.statistics import COMPARISON_RESAMPLES

MAIN_METRICS = ("reliability", "generalization", "portability", "locality")

METRICS: dict[str, str] = {
    "average": "The mean of reliability, generalization, portability and locality.",
    "reliability": "The edited question gets the new answer.",
    "generalization": "Other wordings of the edited question get the new answer too.",
    "portability": "Questions that need the new fact (an alias of the subject, a second reasoning step, the inverse "
    "relation) get the answer that follows from it.",
    "locality": "What the edit should not touch stays: the answer is the one the unedited model gave.",
    "locality_truth": "The other reading of locality: the answer is the true one, whether or not the model knew it.",
    "harmonic": "The harmonic mean of the four scores: one bad score can't be hidden by three good ones.",
}

TERMS: dict[str, str] = {
    "cases in a row": "The length of a sequence: so many cases are edited one after another before anything is asked. "
    "A case of most data sets is one edit; the case of an event makes one or two. The same cases are used at every "
    "length, so that only the length differs.",
    "free-running": "The model writes its answer itself and stops by itself, as in use. The primary reading.",
    "teacher-forced": "Every next token is judged with the right answer so far given to the model. It leaks the "
    "content and the length of the answer, so it flatters.",
    "unedited model": "The model before any edit, asked the same questions. A reference, not a method, so not ranked.",
    "interval": "93.1 [90, 95] is a share of 93.1 % whose 95 % interval, bootstrapped over cases, reaches from 90 to "
    "95 %. The darker part of a cell's bar is that interval.",
    "rank": "1 + the number of methods that are significantly better on the average: paired bootstrap over the same "
    f"cases with {COMPARISON_RESAMPLES:,} resamples, at 5 % after Holm's correction over all pairs of methods in the "
    "table. Fewer than six cases that differ are never significant. “=” marks a shared rank. Methods that share rank 1 "
    "can't be told apart; elsewhere, different ranks need not differ significantly.",
    "incomplete": "A method that isn't finished, failed, or lacks one of the four scores. Shown, never ranked.",
    "forced avg., free avg.": "The average in the other way of answering, and how far it is off this one.",
    "s/edit": "Seconds per edit, on the hardware of the run, of sequences that were run by themselves.",
    "s/answer": "Seconds per answer, all the method does for it included, of sequences that were run by themselves.",
    "over edits": "The average against the length of the sequence (log scale), the same axes in all rows: from the "
    "shortest to the longest, in percent.",
    "badge": "Whose word a row is. ✓ verified: measured by this project's runner with every raw answer kept. Sent in: "
    "◇ self-reported, not looked at yet; ◈ re-scored, scores made here from the raw answers; ✓ re-run, a sample run "
    "again by a maintainer with the same answers. ❝ reported: printed in a paper; shown apart and never ranked with "
    "measured numbers.",
    "peak memory": "The most memory in use during a sequence: of the process on a CPU, of the sequence on a GPU.",
    "bytes/edit": "What the method must keep to serve its edits, for each edit; – where it wasn't measured.",
    "signs of collapse": "Perplexity and states of the edited model on a short plain text, how far its weights moved, "
    "and how often its answers run into a loop. Compare with the unedited model's row; see docs/scores.md.",
}


def metric_label(metric: str) -> str:
    """A metric's name for people: "locality/near" becomes "Locality: near"."""
    head, _, kind = metric.partition("/")
    if head in ("exact", "f1"):
        return f"{kind.capitalize()} by {'equality alone' if head == 'exact' else 'token F1'}"
    name = {"locality_truth": "Locality against the truth", "harmonic": "Harmonic mean"}.get(head, head.capitalize())
    return f"{name}: {kind.replace('_', ' ')}" if kind else name


def as_markdown() -> str:
    """The whole glossary."""
    lines = [f"- **{metric_label(name)}**: {text}" for name, text in METRICS.items()]
    lines += [f"- **{name if '/' in name else name[0].upper() + name[1:]}**: {text}" for name, text in TERMS.items()]
    return "\n".join(lines)
