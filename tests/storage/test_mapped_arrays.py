"""Numbers read from files."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest

from pocket_colbert.storage.contained import Contained
from pocket_colbert.storage.mapped_arrays import read_array


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_numbers_come_back(tmp_path: Path, count: int) -> None:
    numbers = np.arange(count, dtype=">i4")
    (tmp_path / "numbers").write_bytes(numbers.tobytes())
    read = read_array(Contained(tmp_path) / "numbers", ">i4", count)
    np.testing.assert_array_equal(read, numbers)
    assert read.dtype == np.int32 and read.dtype.isnative


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # files left open
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs such a clock")
def test_an_interrupt_while_numbers_are_read_stays_what_it_is(tmp_path: Path) -> None:
    """`np.fromfile` makes a TypeError of it, about once in ten times."""
    (tmp_path / "numbers").write_bytes(bytes(40))
    path = Contained(tmp_path) / "numbers"

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for attempt in range(200):
            with pytest.raises(KeyboardInterrupt):
                signal.setitimer(signal.ITIMER_REAL, 0.001 + attempt * 1e-6)
                while True:
                    read_array(path, "<i4", 10)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
