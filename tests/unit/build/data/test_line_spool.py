from datetime import date
from decimal import Decimal

import pytest

from framework.build.data import Line
from framework.build.data.line_spool import LineSpool


def test_lines_come_back_in_any_order() -> None:
    lines = [Line("a.parquet", n, {"on": date(2026, 1, n + 1), "of": Decimal(n)}) for n in range(9)]
    with LineSpool() as spool:
        for line in lines:
            spool.append(line)
            assert spool[len(spool) // 2] == lines[len(spool) // 2]  # read between two writes
        assert list(spool) == lines
        assert [spool[n] for n in (8, 0, 4, -1)] == [lines[n] for n in (8, 0, 4, 8)]
        with pytest.raises(IndexError):
            spool[9]


def test_an_empty_spool_is_false() -> None:
    with LineSpool() as spool:
        assert not spool
        assert list(spool) == []
