"""Second moments of the keys an MLP sees in ordinary text: C = E[k k^T] (ROME, arXiv 2202.05262, section 3.1).

An update weighted by the inverse of C changes what is rarely seen and spares what is often seen. The moments are
measured on a text of this project's or the user's choice; there is no fallback: without a text there is no edit.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from runner.errors import UserError
from runner.methods.base import Hparams
from runner.methods.hooks import input_of, run_through
from runner.methods.texts import FIELD, TextFile
from runner.models.lm import LanguageModel

log = logging.getLogger(__name__)

Texts = Sequence[str] | TextFile

VERSION = 1  # raised when the same input would give another moment
TOKENS_PER_ROW = 512
TOKENS_PER_BATCH = 4096
TEXTS_PER_CHUNK = 256
SHARE = 4  # an accelerator keeps second moments up to this part of its memory, a quarter; larger ones stay on the host
BYTES = 12  # of an entry of C: in float32, and of its factor in float64


class MomentHparams(Hparams):
    """Where the second moments come from."""

    mom2_texts: str | None = Field(
        None, description="file of texts: lines, .jsonl or .csv, also .gz; None: of its world (atlas models)"
    )
    mom2_field: str = Field(FIELD, description="field of a .jsonl or .csv file that holds the text")
    mom2_n_tokens: int = Field(50_000, ge=1, description="number of tokens measured")
    mom2_seed: int = Field(0, description="seed of the atlas's texts")
    mom2_ridge: float = Field(
        1e-6, ge=0, description="added to the diagonal, as a share of its mean: units that never fire, rounding"
    )


def held_on_device(layers: int, width: int, device_memory: int | None) -> bool:
    """Whether the second moments of so many layers of this MLP width, with their factors, are kept beside the model.

    device_memory: bytes of the accelerator; None: there is none. A 7B model's five layers take 20 GB.
    """
    return device_memory is None or SHARE * BYTES * layers * width * width <= device_memory


class Moment:
    """The second moment of one layer's keys, [mlp width, mlp width], and its factor, made once for all edits.

    They are where the matrix is, on the model's device or in host memory; what is solved comes back on the device of
    the keys.
    """

    def __init__(self, matrix: Tensor, n_tokens: int, layer: int) -> None:
        self.matrix = matrix
        self.n_tokens = n_tokens
        self.layer = layer
        self._factors: dict[float, Tensor] = {}
        self._null_spaces: dict[float, Tensor] = {}

    def ridged(self, ridge: float) -> Tensor:
        """The moment in float64, with `ridge` times its mean diagonal added to the diagonal."""
        matrix = self.matrix.double()
        if ridge:
            matrix.diagonal().add_(ridge * matrix.diagonal().mean())
        return matrix

    def solve(self, keys: Tensor, ridge: float) -> Tensor:
        """C^-1 k for keys [mlp width] or [mlp width, n], by the Cholesky factor, in float64."""
        factor = self.factor(ridge)
        columns = keys.to(factor).reshape(keys.shape[0], -1)
        return torch.cholesky_solve(columns, factor).reshape(keys.shape).to(keys.device)

    def factor(self, ridge: float) -> Tensor:
        """The Cholesky factor of C, in float64, computed once.

        Raises UserError when C is singular: too few tokens for its width, or units that never fire.
        """
        if ridge not in self._factors:
            factor, failed = torch.linalg.cholesky_ex(self.ridged(ridge))
            if failed.item():
                size = f"{self.n_tokens} tokens for {self.matrix.shape[0]} units"
                raise UserError(
                    f"the second moments of layer {self.layer} are singular ({size}): "
                    f"give more varied text (mom2_texts, mom2_n_tokens) or a larger mom2_ridge (now {ridge:g})."
                )
            self._factors[ridge] = factor
        return self._factors[ridge]

    def null_space(self, threshold: float) -> Tensor:
        """Directions that ordinary text hardly uses, [mlp width, directions], orthonormal, in float64: the eigenvectors
        of C with eigenvalues below `threshold`, computed once.

        Raises UserError when there is none.
        """
        if threshold not in self._null_spaces:
            values, vectors = torch.linalg.eigh(self.matrix.double())
            if not values[0] < threshold:
                raise UserError(
                    f"no direction of layer {self.layer} has a second moment below nullspace_threshold = "
                    f"{threshold:g}: the smallest is {values[0]:.3g}, the mean {values.mean():.3g}; raise it."
                )
            self._null_spaces[threshold] = vectors[:, values < threshold].contiguous()
        return self._null_spaces[threshold]


_known: weakref.WeakKeyDictionary[Any, dict[tuple[int, str], Moment]] = weakref.WeakKeyDictionary()


def moments(lm: LanguageModel, layers: Sequence[int], texts: Texts, n_tokens: int) -> dict[int, Moment]:
    """The second moment of each layer over the first `n_tokens` tokens of `texts`, from memory, the cache or the model.

    The model must be unedited when they are first measured. Texts are read in order, each cut at 512 tokens. Files are
    kept by model hash, number format, layer, texts and number of tokens; one that cannot be read is measured anew.
    Raises UserError when the texts hold fewer tokens than asked for, and when that is less than a layer is wide.
    """
    for layer in layers:
        width = _width(lm, layer)
        if n_tokens < width:
            raise UserError(
                f"mom2_n_tokens = {n_tokens} is less than the {width} units of layer {layer}: the second moments of so "
                "few tokens say nothing about most directions; raise it."
            )
    name = hashlib.sha256(f"{VERSION}\0{lm.dtype}\0{n_tokens}\0{_digest(texts)}".encode()).hexdigest()[:16]
    known = _known.setdefault(lm, {})
    home = _home(lm, layers)
    for layer in layers:
        if (layer, name) not in known:
            matrix = _read(_file(lm, layer, name))
            if matrix is not None:
                known[layer, name] = Moment(matrix.to(home), n_tokens, layer)
    missing = [layer for layer in layers if (layer, name) not in known]
    # Sums in float64 are large too: where the moments have no place, neither have those of all layers at once.
    for group in [missing] if home == lm.device else [[layer] for layer in missing]:
        for layer, matrix in measure(lm, group, texts, n_tokens).items() if group else ():
            _write(_file(lm, layer, name), matrix)
            known[layer, name] = Moment(matrix.to(home), n_tokens, layer)
    return {layer: known[layer, name] for layer in layers}


def _home(lm: LanguageModel, layers: Sequence[int]) -> torch.device:
    """Where the second moments of these layers are kept."""
    if lm.device.type != "cuda":
        return lm.device
    memory = int(torch.cuda.get_device_properties(lm.device).total_memory)
    width = max(_width(lm, layer) for layer in layers)
    return lm.device if held_on_device(len(layers), width, memory) else torch.device("cpu")


@torch.no_grad()
def measure(lm: LanguageModel, layers: Sequence[int], texts: Iterable[str], n_tokens: int) -> dict[int, Tensor]:
    """Stream `texts` through the model once and average k k^T over exactly `n_tokens` tokens, per layer, in float32."""
    projections = {layer: lm.structure.mlp_out(layer) for layer in layers}
    totals: dict[int, Tensor] = {}
    for rows in _batches(_rows(lm, texts, n_tokens)):
        with ExitStack() as stack:
            seen = {layer: stack.enter_context(input_of(p.module)) for layer, p in projections.items()}
            mask = run_through(lm, rows, max(layers)).bool().flatten()
        for layer, states in seen.items():
            # In float64, since what is seldom seen is what the inverse makes large.
            keys = states[0].flatten(0, -2)[mask].double()
            product = keys.T @ keys
            totals[layer] = totals[layer] + product if layer in totals else product
    return {layer: (total / n_tokens).float() for layer, total in totals.items()}


def moment_texts(lm: LanguageModel, h: MomentHparams) -> Texts:
    """The texts the hyperparameters name: a file's, or for a model of an atlas those of its world."""
    if h.mom2_texts is not None:
        return TextFile(h.mom2_texts, h.mom2_field)
    recipe = Path(lm.path) / "recipe.json"
    if lm.path and recipe.is_file():
        return _atlas_texts(recipe.parent, max(16, h.mom2_n_tokens // 16), h.mom2_seed)
    raise UserError(
        f"the model '{lm.name}' needs a text to measure second moments on: set mom2_texts to a file, one text a line."
    )


def all_texts(lm: LanguageModel, h: MomentHparams) -> Sequence[str]:
    """The same, held in memory for methods that draw from them."""
    texts = moment_texts(lm, h)
    return _held(texts.path, texts.field, texts.digest) if isinstance(texts, TextFile) else texts


@lru_cache(maxsize=4)
def _held(path: Path, field: str, digest: str) -> tuple[str, ...]:
    return tuple(TextFile(path, field))


@lru_cache(maxsize=4)
def _atlas_texts(folder: Path, n: int, seed: int) -> tuple[str, ...]:
    from runner.atlas.folder import texts_of

    return tuple(texts_of(folder, n, seed))


def _width(lm: LanguageModel, layer: int) -> int:
    projection = lm.structure.mlp_out(layer)
    return int(projection.weight.shape[0 if projection.transposed else 1])


def cache_folder() -> Path:
    """Where files are kept: $PALIMPSEST_CACHE, else palimpsest/ in $XDG_CACHE_HOME or ~/.cache."""
    own = os.environ.get("PALIMPSEST_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "palimpsest"


def _rows(lm: LanguageModel, texts: Iterable[str], n_tokens: int) -> Iterator[list[int]]:
    """Token rows of the texts in order; the last is cut so that exactly `n_tokens` tokens come."""
    longest = min(TOKENS_PER_ROW, lm.context_limit or TOKENS_PER_ROW)
    left = n_tokens
    source = iter(texts)
    while chunk := list(islice(source, TEXTS_PER_CHUNK)):
        for row in lm.encode(chunk):
            row = row[: min(longest, left)]
            left -= len(row)
            yield row
            if not left:
                return
    raise UserError(
        f"the texts for second moments hold {n_tokens - left} tokens, fewer than mom2_n_tokens = {n_tokens}; "
        "give more text or a smaller number."
    )


def _batches(rows: Iterator[list[int]]) -> Iterator[list[list[int]]]:
    """Rows of about equal length together, at most TOKENS_PER_BATCH tokens with padding."""
    pool: list[list[int]] = []
    for row in rows:
        pool.append(row)
        if len(pool) == TEXTS_PER_CHUNK:
            yield from _by_width(pool)
            pool = []
    yield from _by_width(pool)


def _by_width(pool: list[list[int]]) -> Iterator[list[list[int]]]:
    batch: list[list[int]] = []
    for row in sorted(pool, key=len, reverse=True):
        if batch and len(batch[0]) * (len(batch) + 1) > TOKENS_PER_BATCH:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _digest(texts: Texts) -> str:
    return texts.digest if isinstance(texts, TextFile) else _digest_of(tuple(texts))


@lru_cache(maxsize=8)
def _digest_of(texts: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def _file(lm: LanguageModel, layer: int, name: str) -> Path:
    return cache_folder() / "moments" / lm.hash / f"{layer}-{name}.npy"


def _read(path: Path) -> Tensor | None:
    try:
        matrix = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not np.isfinite(matrix).all():
        return None
    return torch.from_numpy(matrix)


def _write(path: Path, matrix: Tensor) -> None:
    """Keep a moment, whole or not at all. Without a place to write it is simply measured again next time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            part = Path(file.name)
            try:
                np.save(file, matrix.cpu().numpy(), allow_pickle=False)
            except OSError:
                part.unlink(missing_ok=True)
                raise
        part.replace(path)
    except OSError as error:
        log.warning("second moments are not kept: %s", error)
