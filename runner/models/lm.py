"""A loaded causal language model: the only thing methods and cells see of transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple

import torch

from runner.errors import UserError
from runner.models.batch import Prefilled, run_batches
from runner.models.cache import can_crop, rows_that_fit
from runner.models.files import resolve
from runner.models.force import Forced, Scored, score_after, score_targets
from runner.models.generate import Generated, greedy
from runner.models.hashing import hash_folder, hash_state
from runner.models.load import (
    available_memory,
    load_model,
    load_tokenizer,
    pick_device,
    pick_dtype,
    prepare_model,
    prepare_tokenizer,
)
from runner.models.memory import keep_freed
from runner.models.rows import Rows
from runner.models.sharding import SHARDED
from runner.models.structure import Structure, discover
from runner.parts import part

BATCH_SIZE = 128
KEPT_TAGS = ("<think>", "</think>")
Listener = Callable[[int, str], None]


class Pair(NamedTuple):
    """A text and its target as one row of token ids; the target is `ids[start:]`."""

    ids: list[int]
    start: int


class LanguageModel:
    """A causal language model with its tokenizer, in evaluation mode and without gradients.

    name: as the user gave it. path: its folder ("" for one built in memory). hash: 16 hex digits over the folder's
    contents (over the parameters when there is no folder). batch_size: rows at once; halved for good when memory runs
    out. rows: which inputs the running pass holds, for hooks. listener: see `listening`.
    """

    def __init__(self, model: Any, tokenizer: Any, name: str = "model", path: str = "") -> None:
        keep_freed()
        self.model = prepare_model(model)
        self.tokenizer = prepare_tokenizer(tokenizer)
        self.name = name
        self.path = path
        self.batch_size = BATCH_SIZE
        self.rows = Rows()
        self.listener: Listener | None = None
        self._closing: dict[str, list[int]] = {}
        self._known: dict[tuple[tuple[int, ...], int, int], Scored] | None = None  # None: nothing is to be remembered
        # Taken now: an edited model in memory is still known by what it was before.
        self.hash = hash_folder(path) if path else hash_state(model)

    @classmethod
    def load(cls, spec: str, device: str = "auto", dtype: str = "auto") -> LanguageModel:
        """Load a model by name: an alias such as "atlas", a folder, or a Hugging Face Hub id.

        device: "auto", "cpu", "cuda", "cuda:N", or "sharded" over all CUDA devices. dtype: "auto" (float32 on the CPU,
        bfloat16 on CUDA), "float32", "bfloat16", "float16". Raises UserError for whatever keeps the model from being
        loaded.
        """
        place = pick_device(device)
        folder = resolve(spec)
        model = load_model(folder, spec, place, pick_dtype(dtype, place), sharded=device == SHARDED)
        return cls(model, load_tokenizer(folder, spec), name=spec, path=str(folder))

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return torch.device(self.model.device)

    @property
    def dtype(self) -> torch.dtype:
        """The parameters' floating-point type."""
        dtype: torch.dtype = self.model.dtype
        return dtype

    @cached_property
    def structure(self) -> Structure:
        """The model's parts. Raises UserError for a family that cannot be edited."""
        return discover(self.model)

    @cached_property
    def context_limit(self) -> int | None:
        """The most tokens the model can attend to, or None when its configuration names no limit."""
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return int(limit) if limit else None

    @cached_property
    def end_ids(self) -> list[int]:
        """Tokens at which the model ends an answer by itself."""
        named = getattr(self.model.generation_config, "eos_token_id", None)
        ids = set(named if isinstance(named, list) else [named]) | {self.tokenizer.eos_token_id}
        return sorted(int(i) for i in ids if i is not None)

    @cached_property
    def _hidden_ids(self) -> frozenset[int]:
        """Special tokens that don't belong in an answer's text."""
        added = {i: t for i, t in self.tokenizer.added_tokens_decoder.items() if t.special}
        ids = set(self.tokenizer.all_special_ids) | set(added)
        return frozenset(i for i in ids if self.tokenizer.convert_ids_to_tokens(i) not in KEPT_TAGS)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text with the model's begin token exactly once and no end token appended.

        A text that already begins with the begin token (a rendered chat template) gets no second one; an empty text
        becomes the begin token, or the end token of models that have no begin token.
        """
        bos, eos = self.tokenizer.bos_token, self.tokenizer.eos_token
        rows: list[list[int]] = [[] for _ in texts]
        for complete in (False, True):
            chosen = [i for i, t in enumerate(texts) if bool(bos and t.startswith(bos)) == complete]
            if chosen:
                encoded = self.tokenizer([texts[i] for i in chosen], add_special_tokens=not complete)["input_ids"]
                for i, ids in zip(chosen, encoded, strict=True):
                    rows[i] = list(ids)
        for i, text in enumerate(texts):
            if rows[i] and eos and rows[i][-1] == self.tokenizer.eos_token_id and not text.endswith((eos, bos or eos)):
                rows[i].pop()
            rows[i] = rows[i] or [self._start_id]
        return rows

    @property
    def _start_id(self) -> int:
        tokenizer = self.tokenizer
        ids = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, 0)
        return next(int(i) for i in ids if i is not None)

    def encode_pairs(self, texts: Sequence[str], targets: Sequence[str]) -> list[Pair]:
        """Each text and its target tokenised together, and where the target begins.

        Exactly one space stands between the two (none is added after whitespace). The target is every token that
        differs from the text's own tokens, so a token that spans the boundary counts as the target's. Raises UserError
        for an empty target.
        """
        if any(not target.strip() for target in targets):
            raise UserError("an edit or probe has an empty target, which cannot be scored or learnt; drop it.")
        whole = [
            text + target.strip() if text[-1:].isspace() else f"{text} {target.strip()}" if text else target.strip()
            for text, target in zip(texts, targets, strict=True)
        ]
        pairs = []
        for alone, ids in zip(self.encode(texts), self.encode(whole), strict=True):
            most = min(len(alone), len(ids) - 1)
            start = next((i for i in range(most) if alone[i] != ids[i]), most)
            if start == 0:  # a text without tokens of its own: something must stand before the target
                ids, start = [self._start_id, *ids], 1
            pairs.append(Pair(ids, start))
        return pairs

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids without special tokens; <think> and </think> are kept."""
        kept = [i for i in ids if i not in self._hidden_ids]
        text: str = self.tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def _cut(self, ids: list[int], room: int) -> list[int]:
        """The last `room` tokens, with the begin token kept in front."""
        if len(ids) <= room:
            return ids
        if room > 1 and ids[0] == self.tokenizer.bos_token_id:
            return [ids[0], *ids[-(room - 1) :]]
        return ids[-room:]

    def _closing_ids(self, characters: str) -> list[int]:
        """Tokens whose text holds one of `characters`."""
        if characters not in self._closing:
            texts = self.tokenizer.batch_decode([[i] for i in range(len(self.tokenizer))])
            self._closing[characters] = [i for i, t in enumerate(texts) if any(c in t for c in characters)]
        return self._closing[characters]

    @contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        """While inside, `Method.answer` tells the listener each answer as it grows (its number, the text so far).

        What a method generates for its own use isn't told. A listener may raise to stop the answers.
        """
        before, self.listener = self.listener, listener
        try:
            yield
        finally:
            self.listener = before

    def generate(
        self,
        texts: Sequence[str],
        max_new_tokens: int,
        batch_size: int | None = None,
        stop: str = "",
        told: Listener | None = None,
        targets: Sequence[str] = (),
    ) -> list[Generated]:
        """Continue each text greedily until the model ends by itself or `max_new_tokens` are spent.

        stop: characters at which an answer ends as well, without them (one at its very beginning leaves it empty); ""
        for none. told: is called with an input's number and its new text so far, as it grows. targets: what `force`
        will ask of each text, inside `remembering` ("" for nothing); outside they mean nothing.
        Results are in input order. An input that leaves no room for the answer in the model's context keeps its end and
        is flagged `truncated`.
        """
        limit = self.context_limit
        new = max_new_tokens if limit is None else min(max_new_tokens, limit - 1)
        rows = self.encode(texts)
        cut = rows if limit is None else [self._cut(ids, limit - new) for ids in rows]
        last, pad = self._closing_ids(stop) if stop else [], self.tokenizer.pad_token_id
        beside = self._beside(texts, rows, targets)

        def work(batch: list[int]) -> list[Generated]:
            chosen = [cut[i] for i in batch]

            def started(prefilled: Prefilled) -> None:
                if self._known is not None and can_crop(prefilled.cache):
                    with part("forced"):
                        scored = score_after(self.model, prefilled, [beside[i] for i in batch], pad, self.device)
                    for i, found in zip(batch, scored, strict=True):
                        if beside[i]:
                            self._known[_key(rows[i] + beside[i], len(rows[i]), self.rows.owner(i))] = found

            def grown(row: int, ids: list[int]) -> None:
                if told is not None:
                    told(batch[row], _before(self.decode(ids), stop).rstrip("\ufffd"))

            with self._watching(batch, chosen, [0] * len(batch)) as watch:
                asked = started if not self.rows.routed and any(beside[i] for i in batch) else None
                done = greedy(
                    self.model, chosen, new, self.end_ids, pad, self.device, last, watch, told and grown, asked
                )
            texts = [_before(self.decode(d.ids), stop) for d in done]
            return [
                Generated(text, len(d.ids), d.finished, len(cut[i]) < len(rows[i]), d.failed)
                for i, text, d in zip(batch, texts, done, strict=True)
            ]

        longest = max(map(len, beside), default=0)
        return self._run(list(map(len, cut)), max(new, longest), 1 + longest, batch_size, work)

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """While inside, `force` knows what `generate` has scored beside its answers, and doesn't run it again.

        Whoever enters sees to it that the model stays as it is.
        """
        self._known = {}
        try:
            yield
        finally:
            self._known = None

    def _beside(self, texts: Sequence[str], rows: list[list[int]], targets: Sequence[str]) -> list[list[int]]:
        """The tokens to score after each row; none where the row's own pass is not the one that `force` would make."""
        found: list[list[int]] = [[] for _ in rows]
        chosen = [i for i, target in enumerate(targets) if target] if self._known is not None else []
        pairs = self.encode_pairs([texts[i] for i in chosen], [targets[i] for i in chosen])
        for i, (ids, start) in zip(chosen, pairs, strict=True):
            if ids[:start] == rows[i] and len(ids) <= (self.context_limit or len(ids)):
                found[i] = ids[start:]
        return found

    def force(self, texts: Sequence[str], targets: Sequence[str], batch_size: int | None = None) -> list[Forced]:
        """Score each target as a continuation of its text, under the target's own beginning (teacher forcing)."""
        return self.score(self.encode_pairs(texts, targets), batch_size)

    def score(self, pairs: Sequence[Pair], batch_size: int | None = None) -> list[Forced]:
        """As `force`, for rows of token ids."""
        memory = self._known or {}
        known = {i: memory[key] for i, p in enumerate(pairs) if (key := _key(*p, self.rows.owner(i))) in memory}
        results = {i: self._forced(s, len(pairs[i].ids) - pairs[i].start) for i, s in known.items()}
        others = [i for i in range(len(pairs)) if i not in known]
        results.update(zip(others, self._score([pairs[i] for i in others], batch_size, others), strict=True))
        return [results[i] for i in range(len(pairs))]

    def _score(self, pairs: Sequence[Pair], batch_size: int | None, places: Sequence[int]) -> list[Forced]:
        """places: of each pair, its place among what was asked."""
        limit = self.context_limit
        cut = [p.ids if limit is None else self._cut(p.ids, limit) for p in pairs]
        lengths = [min(len(p.ids) - p.start, len(ids) - 1) for p, ids in zip(pairs, cut, strict=True)]

        def work(batch: list[int]) -> list[Forced]:
            rows, sizes = [cut[i] for i in batch], [lengths[i] for i in batch]
            with self._watching([places[i] for i in batch], rows, sizes) as watch:
                scored = score_targets(self.model, rows, sizes, self.tokenizer.pad_token_id, self.device, watch)
            return [
                self._forced(s, lengths[i], len(cut[i]) < len(pairs[i].ids)) for i, s in zip(batch, scored, strict=True)
            ]

        return self._run(list(map(len, cut)), 0, max(lengths, default=0) + 1, batch_size, work)

    def _forced(self, scored: Scored, tokens: int, truncated: bool = False) -> Forced:
        return Forced(self.decode(scored.ids), scored.share, scored.logprob, tokens, truncated, scored.failed)

    @contextmanager
    def _watching(
        self, batch: Sequence[int], rows: Sequence[Sequence[int]], targets: Sequence[int]
    ) -> Iterator[Rows | None]:
        """Tell hooks, where there are any, which inputs the passes inside hold."""
        if not self.rows.watched:
            yield None
            return
        self.rows.begin(batch, list(map(len, rows)), targets, self.device)
        try:
            yield self.rows
        finally:
            self.rows.end()

    def _run(self, lengths: list[int], new: int, kept: int, batch_size: int | None, work: Any) -> list[Any]:
        asked = batch_size or self.batch_size
        if self.device.type == "cpu":
            # A host that runs out of memory kills the process instead of raising, so the batch is fitted beforehand.
            tokens = max(lengths, default=0) + new
            asked = min(asked, rows_that_fit(self.model, tokens, available_memory(self.device), kept))
        results, fitted = run_batches(lengths, asked, work)
        if fitted < asked:
            self.batch_size = min(self.batch_size, fitted)
        return results


def _key(ids: Sequence[int], start: int, owner: int) -> tuple[tuple[int, ...], int, int]:
    return tuple(ids), start, owner


def _before(text: str, characters: str) -> str:
    """The text before the first of the characters."""
    return text[: min((i for i, c in enumerate(text) if c in characters), default=len(text))]
