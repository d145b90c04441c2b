import sys

import pytest

from framework.core.peak_memory import peak_memory, reset_peak_memory


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux resets the peak")
def test_each_step_records_its_own_peak() -> None:
    reset_peak_memory()
    before = peak_memory()
    block = bytearray(b"x") * (200 * 2**20)
    during = peak_memory()
    del block
    assert abs(peak_memory() - during) < 2**20  # a peak stays, although the block is gone
    reset_peak_memory()
    after = peak_memory()
    assert during - before > 190 * 2**20
    assert during - after > 190 * 2**20


def test_peak_is_bytes() -> None:
    assert 5 * 2**20 < peak_memory() < 2**40
