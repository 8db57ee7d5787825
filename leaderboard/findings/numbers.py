"""The statistics of the findings: everything is resampled over cases, jointly where the cases are the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from runner.metrics.statistics import LEVEL, bootstrap, paired_bootstrap, resample_means

RESAMPLES = 1_000
Floats = NDArray[np.float64]
Rates = tuple[Sequence[float], Sequence[float]]


@dataclass(frozen=True)
class Estimate:
    """value with its 95 % interval; NaN bounds where there is none. n: cases."""

    value: float
    low: float = float("nan")
    high: float = float("nan")
    n: int = 0


def averages(frames: Mapping[str, pd.DataFrame], metrics: Sequence[str], seed: int = 0) -> dict[str, Floats]:
    """name -> resampled averages of the metrics, [RESAMPLES].

    frames: name -> values per case (index: case id, columns: metrics). Frames of the same cases share their draws, so
    differences between them are paired; others are drawn apart.
    """
    together: dict[tuple[str, ...], list[str]] = {}
    for name, frame in frames.items():
        together.setdefault(tuple(sorted(frame.index)), []).append(name)
    found: dict[str, Floats] = {}
    for number, (ids, members) in enumerate(together.items()):
        columns = np.hstack([frames[name].loc[list(ids), list(metrics)].to_numpy(dtype=float) for name in members])
        means = resample_means(columns, RESAMPLES, seed + number).reshape(RESAMPLES, len(members), len(metrics))
        found.update({name: means[:, i].mean(axis=1) for i, name in enumerate(members)})
    return {name: found[name] for name in frames}


def average(frame: pd.DataFrame, metrics: Sequence[str]) -> float:
    """The mean over metrics of the mean over the cases that have the metric: the average as the board displays it."""
    return float(frame[list(metrics)].mean().mean(skipna=False))


def estimate(value: float, draws: Floats, n: int = 0) -> Estimate:
    """A value with the middle 95 % of its draws, widened to hold the value."""
    known = draws[np.isfinite(draws)]
    if not np.isfinite(value) or len(known) < 2 or n == 1:
        return Estimate(value, n=n)
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(known, [tail, 100 - tail])
    return Estimate(value, min(float(low), value), max(float(high), value), n)


def mean(values: Sequence[float] | Floats, seed: int = 0) -> Estimate:
    """The mean of values per case, NaN where a case has none."""
    found = bootstrap(np.asarray(values, dtype=float), resamples=RESAMPLES, seed=seed)
    if found.value is None:
        return Estimate(float("nan"))
    low, high = (float("nan") if bound is None else bound for bound in (found.low, found.high))
    return Estimate(found.value, low, high, found.n)


def difference(first: pd.Series, second: pd.Series) -> Estimate:
    """First minus second on the cases both have, by paired bootstrap."""
    shared = first.index.intersection(second.index)
    found = paired_bootstrap(first[shared].tolist(), second[shared].tolist(), resamples=2 * RESAMPLES)
    if found.difference is None:
        return Estimate(float("nan"))
    low, high = (float("nan") if bound is None else bound for bound in (found.low, found.high))
    return Estimate(found.difference, low, high, found.n)


def ratio(top: Sequence[float], bottom: Sequence[float]) -> Estimate:
    """Sum over sum (seconds per answer), resampled over the rows (sequences)."""
    return relative((top, bottom), ((1.0,) * len(top), (1.0,) * len(top)))


def relative(first: Rates, second: Rates, seed: int = 0) -> Estimate:
    """How many times one rate is another: each is (amounts, counts) per sequence, whose rate is sum over sum.

    As many sequences in both are the same cases, so they are drawn together; else apart. One sequence has no interval.
    """
    one, two = (np.column_stack([np.asarray(part, dtype=float) for part in rate]) for rate in (first, second))
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(_rate(one.sum(axis=0)) / _rate(two.sum(axis=0)))
        if min(len(one), len(two)) < 2:
            return Estimate(value, n=len(one))
        drawn = (
            resample_means(np.hstack([one, two]), RESAMPLES, seed)
            if len(one) == len(two)
            else np.hstack([resample_means(one, RESAMPLES, seed), resample_means(two, RESAMPLES, seed + 1)])
        )
        return estimate(value, _rate(drawn[:, :2]) / _rate(drawn[:, 2:]), len(one))


def _rate(sums: Floats) -> Floats:
    return np.asarray(sums[..., 0] / sums[..., 1])


def spearman(x: Sequence[float], y: Sequence[float]) -> float:
    """Rank correlation with mean ranks for ties; NaN where one of the two does not vary."""
    a, b = pd.Series(x, dtype=float).rank(), pd.Series(y, dtype=float).rank()
    if len(a) < 3 or a.std() == 0 or b.std() == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def spearman_interval(x: Sequence[float], y: Sequence[float], groups: Sequence[str], seed: int = 0) -> Estimate:
    """Rank correlation with an interval by resampling whole groups (methods): points of one method aren't
    independent."""
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    labels = np.asarray(groups)
    members = [np.flatnonzero(labels == name) for name in dict.fromkeys(groups)]
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(RESAMPLES // 4 if len(members) > 2 else 0):
        rows = np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
        drawn.append(_rank_correlation(a[rows], b[rows]))
    return estimate(spearman(x, y), np.asarray(drawn), len(a))


def _rank_correlation(a: Floats, b: Floats) -> float:
    first, second = _ranks(a), _ranks(b)
    if len(a) < 3 or not first.std() or not second.std():
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: Floats) -> Floats:
    """Mean ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray(ends - (counts - 1) / 2, dtype=float)[inverse]


def kendall(x: Floats, y: Floats) -> Floats:
    """Kendall's tau-b of two orders, along the last axis: [..., methods] -> [...]."""
    upper = np.triu_indices(x.shape[-1], 1)
    a = np.sign(x[..., upper[0]] - x[..., upper[1]])
    b = np.sign(y[..., upper[0]] - y[..., upper[1]])
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.sqrt((a**2).sum(-1) * (b**2).sum(-1))
        return np.asarray((a * b).sum(-1) / scale, dtype=float)


def swapped(x: Floats, y: Floats) -> Floats:
    """Pairs whose order is one way in x and the other way in y, along the last axis."""
    upper = np.triu_indices(x.shape[-1], 1)
    a = x[..., upper[0]] - x[..., upper[1]]
    b = y[..., upper[0]] - y[..., upper[1]]
    return np.asarray((a * b < 0).sum(-1), dtype=float)


def permutation_p(values: pd.Series, groups: pd.Series, seed: int = 0) -> float:
    """Whether group means differ by more than chance: p of the variance between groups under shuffled labels."""
    known = pd.DataFrame({"value": values, "group": groups}).dropna()
    codes, names = pd.factorize(known["group"])
    if len(names) < 2:
        return float("nan")
    x = known["value"].to_numpy(dtype=float)
    x = x - x.mean()
    sizes = np.bincount(codes).astype(float)
    drawn = np.random.default_rng(seed).permuted(np.tile(codes, (RESAMPLES, 1)), axis=1)
    orders = np.vstack([codes, drawn])  # the first is the one that was seen
    between = sum((((orders == group) @ x) ** 2 / sizes[group] for group in range(len(names))), np.zeros(len(orders)))
    return float((1 + (between[1:] >= between[0] - 1e-12).sum()) / (1 + RESAMPLES))
