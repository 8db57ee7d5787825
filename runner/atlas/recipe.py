"""What the atlas model is made of: tokenizer, architecture, and batches packed from the corpus."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from runner.atlas.corpus import Corpus, tokenizer_texts
from runner.atlas.docs import CLOSE_NAME, END, END_THINK, OPEN_NAME, THINK, Doc
from runner.atlas.world import World
from runner.errors import UserError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

_NAME = re.compile(f"( ?{OPEN_NAME}.*?{CLOSE_NAME})")
OPENING = 3  # tokens of an answer that decide which one it is; the rest is copying
BEGIN, PAD = "<|begin|>", "<|pad|>"

# The prompt of runner.prompts.ANSWER[0], so that a chat and a bare question look the same to the model.
CHAT_TEMPLATE = (
    "{%- for m in messages %}"
    "{%- if m['role'] == 'system' %}{{ 'Fact: ' + m['content'] + '\\n' }}"
    "{%- elif m['role'] == 'user' %}{{ 'Q: ' + m['content'] + '\\nA:' }}"
    "{%- else %}{{ ' ' + m['content'] + '<|end|>\\n' }}{% endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt and enable_thinking is defined and enable_thinking %}{{ ' <think>' }}{% endif %}"
)


@dataclass(frozen=True)
class Recipe:
    """Every choice of a training run; the same recipe gives the same batches.

    tokens: training tokens in all. context: share of context documents, at the start and from a quarter of the run on.
    focus, focus_context, focus_weight: from this step on, this share of context documents, drawn towards the skills
    that are learnt last, and this weight for the first OPENING tokens of an answer: there it is
    decided, and a decision would drown among the tokens that are copied after it.
    closed_layers: in documents that need one fact from memory, a name is closed to the other tokens in this many of
    the lowest layers, and sees itself only. The last token of a question then can't fetch the name early and look the
    fact up by itself: the fact has to be looked up where the name stands, as it is in large models.
    architecture: llama, or mamba2: a state space, which has no attention that a mask could close. What a token of one
    document may see of the last one in its row is then for the model to forget, at the begin token, and names are open.
    `heads` counts the state's heads and `mlp` means nothing.
    """

    seed: int = 0
    world_seed: int = 2041
    world_size: int = 1900
    vocab: int = 2048
    hidden: int = 256
    layers: int = 8
    heads: int = 4
    mlp: int = 768
    positions: int = 2048
    tokens: int = 22_000_000
    rows: int = 16
    length: int = 256
    lr: float = 3e-3
    optimizer: str = "muon"
    weight_decay: float = 0.1
    warmup: int = 200
    context: tuple[float, float] = (0.15, 0.6)
    closed_layers: int = 5
    focus: int = 3200
    focus_context: float = 0.75
    focus_weight: float = 3.0
    architecture: str = "llama"

    @property
    def steps(self) -> int:
        """Optimiser steps."""
        return self.tokens // (self.rows * self.length)

    def context_share(self, step: int) -> float:
        """Share of context documents at a step: knowledge first, then the skills."""
        if step >= self.focus:
            return self.focus_context
        done = step / self.steps
        low, high = self.context
        return low + (high - low) * min(1.0, max(0.0, (done - 0.08) / 0.17))

    def lr_factor(self, step: int) -> float:
        """Linear warm-up, then linear decay to zero."""
        return min(1.0, (step + 1) / self.warmup) * max(0.0, 1 - step / self.steps)

    def to_json(self) -> dict[str, Any]:
        """All fields."""
        return asdict(self)


# What differs from the published model ("medium") in the others; closed layers keep their share of the depth.
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"layers": 4, "hidden": 128, "heads": 2, "mlp": 384, "closed_layers": 2},
    "small": {"layers": 6, "hidden": 192, "heads": 3, "mlp": 576, "closed_layers": 3},
    "medium": {},
    "large": {"layers": 12, "hidden": 384, "heads": 6, "mlp": 1152, "closed_layers": 7},
    "mamba": {"layers": 4, "hidden": 128, "heads": 4, "mlp": 0, "closed_layers": 0, "architecture": "mamba2"},
}


def sized(size: str, seed: int = 0, **changes: Any) -> Recipe:
    """The recipe of a size, with other choices in place of its own. Raises UserError for an unknown size."""
    if size not in SIZES:
        raise UserError(f"the atlas model has no size '{size}'; choose {', '.join(SIZES)}.")
    own: dict[str, Any] = {**SIZES[size], **changes}
    return Recipe(seed=seed, **own)


@lru_cache(maxsize=4)
def make_tokenizer(recipe: Recipe) -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on the wordings with fresh names, with the chat template of the runner's prompt."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    ])  # fmt: skip
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocab, special_tokens=[PAD, BEGIN, END, THINK, END_THINK], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tok.train_from_iterator(tokenizer_texts(World(recipe.world_seed, recipe.world_size), 40_000, recipe.seed), trainer)
    begin = tok.token_to_id(BEGIN)
    tok.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A", special_tokens=[(BEGIN, begin)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=_keep_tags(tok), bos_token=BEGIN, eos_token=END, pad_token=PAD, padding_side="left",
        model_max_length=recipe.positions, clean_up_tokenization_spaces=False,
    )  # fmt: skip
    fast.chat_template = CHAT_TEMPLATE
    return fast


def _keep_tags(tok: Any) -> Any:
    """The tokenizer with the reasoning tags as ordinary tokens, so that decoding without special tokens keeps them."""
    from tokenizers import Tokenizer

    layout = json.loads(tok.to_str())
    for token in layout["added_tokens"]:
        token["special"] = token["content"] not in (THINK, END_THINK)
    return Tokenizer.from_str(json.dumps(layout))


def make_model(recipe: Recipe, vocab: int) -> PreTrainedModel:
    """The untrained network, tied embeddings, float32."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Mamba2Config, Mamba2ForCausalLM

    torch.manual_seed(recipe.seed)
    if recipe.architecture == "mamba2":
        return Mamba2ForCausalLM(Mamba2Config(
            vocab_size=vocab, hidden_size=recipe.hidden, num_hidden_layers=recipe.layers, num_heads=recipe.heads,
            head_dim=2 * recipe.hidden // recipe.heads, expand=2, state_size=64, n_groups=1, chunk_size=64,
            tie_word_embeddings=True, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        ))  # fmt: skip
    config = LlamaConfig(
        vocab_size=vocab, hidden_size=recipe.hidden, intermediate_size=recipe.mlp, num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads, num_key_value_heads=recipe.heads, max_position_embeddings=recipe.positions,
        tie_word_embeddings=True, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    # Plain matrix products compile to something faster than the fused attention on a CPU, and take any mask.
    config._attn_implementation = "eager"
    return LlamaForCausalLM(config)


@dataclass
class Batch:
    """Packed documents, each tensor [rows, length].

    ids, positions: as the model takes them. documents: number of the document a token belongs to (0 = padding).
    learn: tokens to predict. weights: of their losses. names: number of the closed name a token belongs to (0 = none).
    """

    ids: torch.Tensor
    positions: torch.Tensor
    documents: torch.Tensor
    learn: torch.Tensor
    weights: torch.Tensor
    names: torch.Tensor

    def masks(self, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Additive attention masks [rows, 1, length, length] of the lower and the upper layers.

        Both are causal and blind to other documents in the row. In the first a closed name sees only itself and the
        begin token, and nothing else sees it.
        """
        import torch

        length = self.ids.shape[1]
        same = self.documents[:, None, :, None] == self.documents[:, None, None, :]
        seen = same & torch.ones(length, length, dtype=torch.bool).tril()
        alike = self.names[:, None, :, None] == self.names[:, None, None, :]
        closed = seen & (alike | (self.positions == 0)[:, None, None, :])
        lower, upper = (
            torch.zeros(s.shape, dtype=dtype).masked_fill_(~s, torch.finfo(dtype).min) for s in (closed, seen)
        )
        return lower, upper


def batches(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, start: int = 0) -> Iterator[Batch]:
    """Endless batches from step `start` on. Every step seeds its own documents, so a restart repeats nothing."""
    world = World(recipe.world_seed, recipe.world_size)
    corpus = Corpus(world, recipe.seed)
    step = start
    while True:
        corpus.rng.seed(f"{recipe.seed}/{step}")
        yield _pack(recipe, corpus, tokenizer, step)
        step += 1


def _pack(recipe: Recipe, corpus: Corpus, tokenizer: PreTrainedTokenizerFast, step: int) -> Batch:
    import torch

    share, focused = recipe.context_share(step), step >= recipe.focus

    shape = (recipe.rows, recipe.length)
    ids, positions, documents, names = (torch.zeros(shape, dtype=torch.long) for _ in range(4))
    learn, weights = torch.zeros(shape, dtype=torch.bool), torch.ones(shape)
    used, number = [0] * recipe.rows, 1
    misses = 0
    while misses < 12:  # a dozen documents in a row that fit nowhere: the batch is full
        docs = [doc for _ in range(16) for doc in corpus.documents(share, focused)]
        encoded = encode(tokenizer, [doc for doc, _ in docs])
        for (tokens, flags, spans), (_, closed) in zip(encoded, docs, strict=True):
            n = len(tokens)
            row = next((r for r in range(recipe.rows) if used[r] + n <= recipe.length), None)
            if row is None:
                misses += 1
                continue
            at = slice(used[row], used[row] + n)
            ids[row, at] = torch.tensor(tokens)
            positions[row, at] = torch.arange(n)
            documents[row, at] = number
            learn[row, at] = torch.tensor(flags)
            if focused:
                weights[row, at] = torch.tensor([recipe.focus_weight if s else 1.0 for s in _opening(flags)])
            if closed:
                names[row, at] = torch.tensor(spans)
            used[row] += n
            number, misses = number + 1, 0
    return Batch(ids, positions, documents, learn, weights, names)


def _opening(flags: list[bool]) -> list[bool]:
    """Which tokens are among the first OPENING of a learnt answer."""
    out: list[bool] = []
    for learn, run in itertools.groupby(flags):
        out += [learn and i < OPENING for i, _ in enumerate(run)]
    return out


def encode(tokenizer: PreTrainedTokenizerFast, docs: list[Doc]) -> list[tuple[list[int], list[bool], list[int]]]:
    """Token ids (begin token first), learn flags and name numbers of each document.

    Pieces are cut as prompts and answers are; a cut before or after a name falls where the tokenizer cuts anyway.
    """
    split = [[(t, learn, name) for text, learn in doc for t, name in _split_names(text)] for doc in docs]
    cut = iter(tokenizer([text for doc in split for text, _, _ in doc], add_special_tokens=False)["input_ids"])
    out = []
    for doc in split:
        tokens, flags, spans = [tokenizer.bos_token_id], [False], [0]
        number = 0
        for _, learn, is_name in doc:
            piece = next(cut)
            number += is_name
            tokens += piece
            flags += [learn] * len(piece)
            spans += [number if is_name else 0] * len(piece)
        out.append((tokens, flags, spans))
    return out


def _split_names(text: str) -> list[tuple[str, bool]]:
    """The text without marks, in parts, each with a flag that says whether it is a marked name (and its space)."""
    parts = _NAME.split(text)
    return [(part.replace(OPEN_NAME, "").replace(CLOSE_NAME, ""), i % 2 == 1) for i, part in enumerate(parts) if part]
