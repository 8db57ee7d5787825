"""The pieces that several findings share."""

from __future__ import annotations

import pandas as pd
import pytest

from leaderboard.findings.frames import shares


def test_cases_that_were_not_asked_widen_no_interval() -> None:
    asked = pd.DataFrame({"reliability": [1.0, 0.0, 1.0, 1.0], "locality": [1.0, 1.0, 0.5, 1.0]})
    rest = pd.DataFrame(float("nan"), index=range(4, 40), columns=asked.columns)
    alone, among = shares(asked), shares(pd.concat([asked, rest]))
    assert among.tolist() == alone.tolist()
    assert alone.mean() == pytest.approx((0.75 + 0.875) / 2)
