"""Keeping other libraries from talking over our own output."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator

_TALKATIVE = ("", "optimum", "transformers", "torch.onnx")
"""Loggers to silence; the root one is what onnxruntime's quantiser speaks through."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence torch, transformers and onnxruntime: what they warn of is checked here."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    with (
        warnings.catch_warnings(),
        open(os.devnull, "w", encoding="utf-8") as sink,
        contextlib.redirect_stdout(sink),
    ):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
