"""Runs pytest again and again, each time in a fork that has all third-party packages loaded.

`python -m tests.tools.mutants` starts it in a copy of the checkout. Starting Python and importing
NumPy, Hypothesis and onnxruntime costs more than the tests of most mutants do.

Reads one JSON object a line from stdin, such as `{"arguments": ["tests/vectors"], "output": "FILE",
"limit": 60}`, and writes the exit status as one line, or `hung`. The limit is of processor time, as
a machine may be busy with other things; a run that only waits has ten times as long.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys
import time
from contextlib import suppress
from typing import NoReturn

MEMORY = 16 << 30
"""Bytes of data of a run: a mutant may ask for any number."""

PRELOADED = [
    "pytest", "_pytest.assertion.rewrite", "hypothesis.strategies",
    "hypothesis.internal.conjecture.engine", "numpy.random", "onnxruntime", "tokenizers", "usearch",
    "numkong", "fastcluster", "scipy.cluster.hierarchy", "click.testing", "rich.progress",
    "sqlite3", "msgspec", "starlette.testclient", "starlette.applications", "uvicorn", "httpx2",
    "asyncio", "multiprocessing", "concurrent.futures.thread", "coverage", "unittest.mock",
]  # fmt: skip
FOR_EXPORT = ["torch", "transformers", "onnx", "safetensors.torch"]


def main() -> None:
    """Run what comes in until nothing does."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for name in PRELOADED + (FOR_EXPORT if "--export" in sys.argv else []):
        with suppress(ImportError):
            importlib.import_module(name)
    for line in sys.stdin:
        answers.write(f"{run(**json.loads(line))}\n")
        answers.flush()


def run(*, arguments: list[str], output: str, limit: float) -> int | str:
    """Run pytest in a fork; return its exit status, or "hung" when it takes too long."""
    process = os.fork()
    if not process:
        child(arguments, output, limit)
    end = time.monotonic() + 10 * limit
    status: int | str = "hung"
    try:
        while time.monotonic() < end:
            done, code = os.waitpid(process, os.WNOHANG)
            if done:
                status = os.waitstatus_to_exitcode(code)
                break
            time.sleep(0.02)
    finally:
        with suppress(ProcessLookupError):  # also what its tests have started
            os.killpg(process, signal.SIGKILL)
        if status == "hung":
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
    return "hung" if status == -signal.SIGXCPU else status


def child(arguments: list[str], output: str, limit: float) -> NoReturn:
    """Run pytest in this process, and end it."""
    status = 3
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setsid()
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (int(limit) + 1, int(limit) + 10))
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        for number in (1, 2):
            os.dup2(file, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        import pytest

        status = int(pytest.main(arguments))
    except BaseException as error:
        sys.stderr.write(f"{error!r}\n")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
