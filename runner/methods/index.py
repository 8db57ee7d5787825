"""Statements in memory and the nearest of them to a text: an embedding matrix in blocks, or an inverted index.

Both grow by what is new and never look at the rest again; a search holds one block of scores at a time, so that a
million statements need no more room than their embeddings and texts.
"""

from __future__ import annotations

import math
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from runner.parts import part

Vectors = NDArray[Any]
Hit = tuple[int, float]  # a statement's number, in order of adding from 0, and its score

BLOCK = 16384  # statements whose scores are held at once
QUERIES = 256  # questions whose scores are held at once
WORD = re.compile(r"\w+")


class Encoder(Protocol):
    """Turns texts into vectors whose dot products are scores."""

    def __hash__(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings, shape [texts, size]."""


class Index(Protocol):
    """Statements by number. Among equal scores the later statement comes first."""

    def __len__(self) -> int: ...

    def add(self, texts: Sequence[str]) -> None:
        """Append statements; they get the next numbers."""

    def add_shared(self, texts: tuple[str, ...]) -> None:
        """`add` for statements that many memories of a process begin with."""

    def remove(self, number: int, text: str) -> None:
        """Never find this statement, whose words are `text`, again."""

    def search(self, queries: Sequence[str], k: int, threshold: float | None = None) -> list[list[Hit]]:
        """For each query at most k statements, best first, none scored below the threshold."""

    def storage_bytes(self) -> int:
        """Bytes kept besides the statements' own texts."""


class DenseIndex:
    """Embeddings in blocks of rows, searched by one matrix product per block.

    precision: number format of the stored rows; products are computed in float32.
    """

    def __init__(self, encoder: Encoder, precision: str = "float32") -> None:
        self.encoder, self.dtype = encoder, np.dtype(precision)
        self._full: list[Vectors] = []  # blocks of BLOCK rows, never written to again, so indices may share them
        self._tail: Vectors | None = None
        self._n_tail = 0
        self._removed: set[int] = set()

    def __len__(self) -> int:
        return len(self._full) * BLOCK + self._n_tail

    def add(self, texts: Sequence[str]) -> None:
        """Embed and append these statements; those already there are not touched."""
        if texts:
            self.append(self.encoder.embed(texts))

    def add_shared(self, texts: tuple[str, ...]) -> None:
        """`add` for statements that many memories of a process begin with: they are embedded once."""
        for block in _embedded(self.encoder, texts, self.dtype):
            self.append(block)

    def append(self, rows: Vectors) -> None:
        """Append embeddings, shape [statements, size]."""
        rows = rows.astype(self.dtype, copy=False)
        while len(rows):
            if self._n_tail == 0 and len(rows) >= BLOCK:
                self._full.append(rows[:BLOCK])
                rows = rows[BLOCK:]
                continue
            part, rows = rows[: BLOCK - self._n_tail], rows[BLOCK - self._n_tail :]
            tail = self._grown(self._n_tail + len(part), part.shape[1])
            tail[self._n_tail : self._n_tail + len(part)] = part
            self._n_tail += len(part)
            if self._n_tail == BLOCK:
                self._full.append(tail)
                self._tail, self._n_tail = None, 0

    def _grown(self, needed: int, size: int) -> Vectors:
        """The block being filled, with room for `needed` rows."""
        if self._tail is None or len(self._tail) < needed:
            room = min(BLOCK, max(64, 1 << (needed - 1).bit_length()))
            tail = np.empty((room, size), self.dtype)
            if self._tail is not None:
                tail[: self._n_tail] = self._tail[: self._n_tail]
            self._tail = tail
        return self._tail

    def remove(self, number: int, text: str) -> None:
        """Never find this statement again; its row stays where it is."""
        self._removed.add(number)

    def search(self, queries: Sequence[str], k: int, threshold: float | None = None) -> list[list[Hit]]:
        """The nearest statements by dot product; see Index."""
        if not queries or not len(self):
            return [[] for _ in queries]
        with part("encoder"):
            vectors = np.asarray(self.encoder.embed(queries), dtype=np.float32)
        parts = (self._search(vectors[i : i + QUERIES], k, threshold) for i in range(0, len(vectors), QUERIES))
        return [row for part in parts for row in part]

    def _search(self, vectors: Vectors, k: int, threshold: float | None) -> list[list[Hit]]:
        found: list[list[Hit]] = [[] for _ in vectors]
        floor = np.full(len(vectors), -np.inf if threshold is None else threshold, dtype=np.float32)
        removed = np.array(sorted(self._removed), dtype=np.int64)
        for start, block in self._blocks():
            scores = vectors @ block.astype(np.float32, copy=False).T
            low, high = np.searchsorted(removed, (start, start + len(block)))
            scores[:, removed[low:high] - start] = -np.inf
            best = scores.max(1)
            # A block whose best score is below what a question has already needs no sorting.
            for row in np.flatnonzero((best >= floor) & (best > -np.inf)):
                merged = found[row] + best_of(scores[row], k, start)
                merged.sort(key=lambda hit: (-hit[1], -hit[0]))
                found[row] = [hit for hit in merged[:k] if threshold is None or hit[1] >= threshold]
                if len(found[row]) == k:
                    floor[row] = max(floor[row], found[row][-1][1])
        return found

    def _blocks(self) -> Iterator[tuple[int, Vectors]]:
        for i, block in enumerate(self._full):
            yield i * BLOCK, block
        if self._tail is not None and self._n_tail:
            yield len(self._full) * BLOCK, self._tail[: self._n_tail]

    def storage_bytes(self) -> int:
        """Bytes of the embeddings that can be found."""
        rows = next((block for _, block in self._blocks()), None)
        return 0 if rows is None else (len(self) - len(self._removed)) * rows.shape[1] * self.dtype.itemsize


@lru_cache(maxsize=4)
def _embedded(encoder: Encoder, texts: tuple[str, ...], dtype: np.dtype[Any]) -> tuple[Vectors, ...]:
    parts = (texts[i : i + BLOCK] for i in range(0, len(texts), BLOCK))
    return tuple(np.asarray(encoder.embed(part)).astype(dtype) for part in parts)


class BM25Index:
    """Okapi BM25 with the always-positive idf of Lucene: ln(1 + (N - n + 0.5) / (n + 0.5)). Words are casefolded.

    An inverted index: a question looks only at the statements that share a word with it. Statements without one score
    0. Removed statements count neither for N, n nor the mean length, as if they had never been added.
    """

    def __init__(self, k1: float = 1.2, b: float = 0.75) -> None:
        self.k1, self.b = k1, b
        self._postings: dict[str, tuple[array[int], array[int]]] = {}  # word -> statements, times in each
        self._lengths: array[int] = array("I")
        self._gone: Counter[str] = Counter()  # word -> removed statements that hold it
        self._removed: dict[int, None] = {}
        self._total = 0

    def __len__(self) -> int:
        return len(self._lengths)

    def add(self, texts: Sequence[str]) -> None:
        """Enter the words of these statements."""
        for text in texts:
            counts = Counter(words(text))
            number, length = len(self._lengths), sum(counts.values())
            for word, times in counts.items():
                where, often = self._postings.setdefault(word, (array("I"), array("I")))
                where.append(number)
                often.append(times)
            self._lengths.append(length)
            self._total += length

    def add_shared(self, texts: tuple[str, ...]) -> None:
        """The same as `add`."""
        self.add(texts)

    def remove(self, number: int, text: str) -> None:
        """Take a statement out of the scores and the statistics."""
        if number not in self._removed:
            self._removed[number] = None
            self._total -= self._lengths[number]
            self._gone.update(set(words(text)))

    def search(self, queries: Sequence[str], k: int, threshold: float | None = None) -> list[list[Hit]]:
        """The nearest statements by BM25; see Index."""
        if not len(self):
            return [[] for _ in queries]
        lengths = np.array(self._lengths, dtype=np.float32)
        removed = np.array(list(self._removed), dtype=np.int64)
        return [self._search(query, k, threshold, lengths, removed) for query in queries]

    def _search(self, query: str, k: int, threshold: float | None, lengths: Vectors, removed: Vectors) -> list[Hit]:
        n = len(self) - len(self._removed)
        mean = max(self._total / max(n, 1), 1.0)
        scores = np.zeros(len(self), dtype=np.float32)
        for word in words(query):
            if word in self._postings:
                ids, times = (np.array(part) for part in self._postings[word])
                often = times.astype(np.float32)
                n_word = len(ids) - self._gone[word]
                idf = math.log(1 + (n - n_word + 0.5) / (n_word + 0.5))
                saturation = self.k1 * (1 - self.b + self.b * lengths[ids] / mean)
                scores[ids] += idf * often * (self.k1 + 1) / (often + saturation)
        scores[removed] = -np.inf
        return [hit for hit in best_of(scores, k) if threshold is None or hit[1] >= threshold]

    def storage_bytes(self) -> int:
        """Bytes of the postings, the lengths and the words."""
        postings = sum(
            len(word.encode()) + len(where) * (where.itemsize + often.itemsize)
            for word, (where, often) in self._postings.items()
        )
        return postings + len(self._lengths) * self._lengths.itemsize


def best_of(scores: NDArray[np.float32], k: int, start: int = 0) -> list[Hit]:
    """The k highest of a row of scores, best first; among equals the later; -inf is never among them."""
    if len(scores) > k:
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        above = np.flatnonzero(scores > least)
        level = np.flatnonzero(scores == least)
        chosen: Iterable[int] = np.concatenate([above, level[len(level) - (k - len(above)) :]])
    else:
        chosen = range(len(scores))
    hits = [(start + int(i), float(scores[i])) for i in chosen if scores[i] > -np.inf]
    return sorted(hits, key=lambda hit: (-hit[1], -hit[0]))


def words(text: str) -> list[str]:
    """The casefolded words of a text."""
    return WORD.findall(text.casefold())
