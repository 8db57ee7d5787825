"""MultiHop-SCR: reason step by step, and look every step up in the memory (after MeLLo, arXiv 2305.14795)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import Field

from runner.methods.base import Context, split_trace
from runner.methods.memory import Found
from runner.methods.registry import register
from runner.methods.scr import SCR, SCRHparams, read
from runner.parts import part
from runner.protocol import is_question
from runner.types import Edit

THINK, END_THINK = "<think>", "</think>"
SENTENCE_END = re.compile(r"(?<=[.!?])\s+")

# The examples show the form; nothing in them is a fact of any data set.
SUB_QUESTION = (
    "Break the question into simple questions, one for each fact that is needed. Write only the next one, or DONE once "
    "the answers so far are enough.\n\n"
    "Question: In which country was the inventor of the zeppel lamp born?\n"
    "Next: Who invented the zeppel lamp?\n"
    "Answer: Ida Morrel\n"
    "Next: In which country was Ida Morrel born?\n"
    "Answer: Norway\n"
    "Next: DONE\n\n"
    "Question: {question}\n{steps}Next:"
)
STEP = "Next: {question}\nAnswer: {answer}\n"
DONE = re.compile(r"^\W*(done|none|finished|no more)\b", re.I)


class MultiHopHparams(SCRHparams):
    """Hyperparameters of MultiHop-SCR: those of SCR, and how steps are found."""

    one_by_one: bool = Field(
        True,
        description="Confirm the statements one at a time, best first, and take the first that is; False: all at once.",
    )
    steps: Literal["auto", "trace", "questions"] = Field(
        "auto",
        description="trace: the model reasons between <think> tags and each sentence is looked up; questions: it is "
        "asked for the next simple question; auto: trace where the model knows the tags.",
    )
    max_hops: int = Field(4, ge=1, description="Most steps that are corrected (trace) or asked (questions).")
    step_k: int = Field(3, ge=1, description="Statements compared with each step of a trace.")
    think_tokens: int = Field(96, ge=1, description="Token budget of a trace, or of one simple question.")


@dataclass
class Thought:
    """The reasoning on one prompt. start: the text up to the trace. checked: sentences looked up so far."""

    start: str
    sentences: list[str] = field(default_factory=list)
    checked: int = 0
    hops: list[dict[str, Any]] = field(default_factory=list)
    closed: bool = False

    @property
    def text(self) -> str:
        """What the model continues: the trace as far as it stands."""
        return " ".join([self.start, *self.sentences[: self.checked]])


@register
class MultiHopSCR(SCR):
    """The model's weights stay as they are; edits are statements in a memory, looked up at every step of reasoning.

    A model that reasons between <think> tags does so on the bare question. Each sentence of its trace is compared with
    the memory: where a statement tells the same fact otherwise (the model confirms that the sentence answers the
    question which the edit was asked in, and the sentence lacks the edit's target), the statement takes the
    sentence's place and the model goes on from there. Other models are asked for one simple question after another,
    each answered as SCR answers it, and what was found stands before the prompt. Where no step of several was changed,
    and for unfinished sentences, the prompt is SCR's.
    """

    name: ClassVar[str] = "MultiHop-SCR"
    family: ClassVar[str] = "selective context"
    paper: ClassVar[str] = "2305.14795"
    changes: ClassVar[str] = "the prompt: each step of a question is looked up in a memory of statements"
    Hparams: ClassVar[type[MultiHopHparams]] = MultiHopHparams
    fidelity: ClassVar[str] = "MeLLo's idea, a question taken hop by hop; the procedure and the prompts are our own"

    @property
    def steps(self) -> str:
        """How steps are found: "trace" or "questions"."""
        if self.hparams.steps != "auto":
            return str(self.hparams.steps)
        known = self.lm.tokenizer.get_vocab()
        return "trace" if THINK in known and END_THINK in known else "questions"

    def resolved_hparams(self) -> dict[str, Any]:
        """The hyperparameters with the way in which steps are found."""
        return {**super().resolved_hparams(), "steps": self.steps}

    def _select(self, prompts: Sequence[str]) -> list[Context]:
        contexts: dict[str, Context] = {}
        questions = [prompt for prompt in prompts if is_question(prompt)]
        if questions and len(self.memory):
            by_steps = self._by_trace if self.steps == "trace" else self._by_questions
            found = zip(questions, by_steps(questions), strict=True)
            contexts = {prompt: context for prompt, context in found if context is not None}
        rest = [prompt for prompt in prompts if prompt not in contexts]
        if rest:
            contexts.update(zip(rest, super()._select(rest), strict=True))
        return [contexts[prompt] for prompt in prompts]

    # -- sentence by sentence -----------------------------------------------------------------------------------

    def _by_trace(self, prompts: Sequence[str]) -> list[Context | None]:
        """For each prompt the corrected trace behind it; None where it has one step or none was corrected."""
        starts = [self.protocol.render(prompt) for prompt in prompts]
        thoughts = [Thought(f"{start} {THINK}") for start in starts]
        open_ = thoughts
        for _ in range(self.hparams.max_hops):
            self._think(open_)
            self._check([thought for thought in open_ if len(thought.sentences) > 1])
            open_ = [thought for thought in open_ if len(thought.sentences) > 1 and not thought.closed]
            if not open_:
                break
        self._think(open_)  # to the end, behind the last correction
        return [self._context(start, thought) for start, thought in zip(starts, thoughts, strict=True)]

    def _context(self, start: str, thought: Thought) -> Context | None:
        if not thought.hops:
            return None
        trace = " ".join(thought.sentences)
        consulted = {"hops": thought.hops, "why": "a step was told otherwise in memory"}
        return Context(f"{start} {THINK} {trace} {END_THINK}", consulted, trace)

    def _think(self, thoughts: Sequence[Thought]) -> None:
        """Let the model go on with each trace to its end, behind the sentences already looked up."""
        if not thoughts:
            return
        with part("steps"):
            outputs = self.lm.generate([thought.text for thought in thoughts], self.hparams.think_tokens)
        for thought, output in zip(thoughts, outputs, strict=True):
            head = output.text.partition(END_THINK)[0]
            more = [sentence.strip() for sentence in SENTENCE_END.split(head.strip()) if sentence.strip()]
            thought.sentences = thought.sentences[: thought.checked] + more

    def _check(self, thoughts: Sequence[Thought]) -> None:
        """Look up each trace's sentences in turn up to the first that a statement replaces; all traces at once."""
        open_ = [thought for thought in thoughts if not thought.closed]
        while open_:
            for thought in open_:
                thought.closed = thought.checked >= len(thought.sentences)
            open_ = [thought for thought in open_ if not thought.closed]
            sentences = [thought.sentences[thought.checked] for thought in open_]
            going_on = []
            for thought, sentence, found in zip(open_, sentences, self._otherwise(sentences), strict=True):
                if found is not None:
                    thought.hops.append({"said": sentence, "replaced": found.text, "score": round(found.score, 4)})
                    thought.sentences[thought.checked] = found.text
                else:
                    going_on.append(thought)
                thought.checked += 1
            open_ = going_on

    def _otherwise(self, sentences: Sequence[str]) -> list[Found | None]:
        """For each sentence the nearest statement that tells the same fact otherwise, or None."""
        rows = self.memory.search(sentences, self.hparams.step_k, self.hparams.threshold)
        pairs: list[tuple[int, Found, Edit]] = [
            (n, found, edit)
            for n, row in enumerate(rows)
            for found in row
            for edit in found.edits
            if edit.target not in sentences[n] and found.text != sentences[n]
        ]
        same = self._same_fact([(sentences[n], edit.prompt) for n, _, edit in pairs])
        result: list[Found | None] = [None] * len(sentences)
        for (n, found, _), confirmed in zip(pairs, same, strict=True):
            if confirmed and result[n] is None:
                result[n] = found
        return result

    def _same_fact(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        """Whether the model confirms that a sentence answers a question, for each pair."""
        distinct = list(dict.fromkeys(pairs))
        replies = self._ask([question for _, question in distinct], [[sentence] for sentence, _ in distinct])
        said = {p: read(r, [p[0]]).confirmed is not None for p, r in zip(distinct, replies, strict=True)}
        return [said[pair] for pair in pairs]

    # -- question by question -----------------------------------------------------------------------------------

    def _by_questions(self, prompts: Sequence[str]) -> list[Context | None]:
        """For each prompt the facts and answers its simple questions led to; None where there was no second one."""
        steps: list[list[dict[str, Any]]] = [[] for _ in prompts]
        open_ = list(range(len(prompts)))
        for _ in range(self.hparams.max_hops):
            asked = self._next_questions([prompts[n] for n in open_], [steps[n] for n in open_])
            known = [{step["question"] for step in steps[n]} for n in open_]
            # A question asked twice leads nowhere; one equal to the prompt is SCR's.
            going_on = [
                (n, question)
                for n, question, before in zip(open_, asked, known, strict=True)
                if question and question not in before and question != prompts[n]
            ]
            if not going_on:
                break
            open_ = [n for n, _ in going_on]
            for (n, question), step in zip(going_on, self._answers([q for _, q in going_on]), strict=True):
                steps[n].append({"question": question, **step})
        return [self._with_steps(prompt, taken) for prompt, taken in zip(prompts, steps, strict=True)]

    def _next_questions(self, prompts: Sequence[str], steps: Sequence[list[dict[str, Any]]]) -> list[str]:
        """The next simple question of each prompt; empty where the model says that it is done or asks nothing."""
        texts = [
            SUB_QUESTION.format(
                question=prompt, steps="".join(STEP.format(question=s["question"], answer=s["answer"]) for s in taken)
            )
            for prompt, taken in zip(prompts, steps, strict=True)
        ]
        with part("steps"):
            outputs = self.lm.generate([self.protocol.render(text) for text in texts], self.hparams.think_tokens)
        lines = [first_line(output.text) for output in outputs]
        return ["" if DONE.match(line) or not line.endswith("?") else line for line in lines]

    def _answers(self, questions: Sequence[str]) -> list[dict[str, Any]]:
        """The answer to each simple question, and the statement it rests on (None: the model's own knowledge)."""
        selected = self.select(questions)
        texts = [self.protocol.render(q, stated) for q, (stated, _) in zip(questions, selected, strict=True)]
        with part("steps"):
            outputs = self.lm.generate(texts, self.protocol.max_new_tokens)
        return [
            {"answer": first_line(output.text), "stated": " ".join(stated) or None}
            for output, (stated, _) in zip(outputs, selected, strict=True)
        ]

    def _with_steps(self, prompt: str, taken: Sequence[dict[str, Any]]) -> Context | None:
        if len(taken) < 2 or not any(step["stated"] for step in taken):
            return None
        stated = [step["stated"] or f"{step['question']} {step['answer']}." for step in taken]
        consulted = {"hops": list(taken), "why": "a step rests on a statement in memory"}
        return Context(self.protocol.render(prompt, list(dict.fromkeys(stated))), consulted)


def first_line(text: str) -> str:
    """The first line of an output that isn't empty, after a reasoning trace."""
    _, answer = split_trace(text)
    return next((line.strip() for line in answer.splitlines() if line.strip()), "")
