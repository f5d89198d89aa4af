"""Ctrl-C at any moment of a command, also while its modules load: one line and exit code 130."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")

COMMAND = "print('ready', flush=True); from pocket_colbert.cli.entry import main; main()"


def interrupted(arguments: list[str], delay: float, code: str = COMMAND) -> tuple[int, str]:
    """Run a command, interrupt it after some seconds, and return its exit code and what it said."""
    started = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    with started as process:
        assert process.stdout is not None
        while process.stdout.readline().strip() not in ("ready", ""):
            pass
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        return process.returncode, said


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_an_interrupt_while_modules_load(seed: int, tmp_path: Path) -> None:
    """Of `rerank`, which loads numpy, onnxruntime and tokenizers."""
    (tmp_path / "texts").write_text("bees\n")
    delay = 0.02 + 0.05 * seed + random.Random(seed).uniform(0, 0.05)
    code, said = interrupted(["rerank", "bees", str(tmp_path / "texts"), "--json"], delay)
    assert (code, said) in [(130, "Interrupted.\n"), (0, "")], said


def test_an_interrupt_within_an_import_waits_for_its_end() -> None:
    """It would be swallowed here, as modules do that try an import."""
    code = (
        "import sys, types, pathlib, tempfile\n"
        "from pocket_colbert.cli.entry import run\n"
        "folder = tempfile.mkdtemp(); sys.path.insert(0, folder)\n"
        "pathlib.Path(folder, 'slow.py').write_text('import time\\nfor _ in range(50):\\n try:"
        " time.sleep(.01)\\n except BaseException: pass')\n"
        "pathlib.Path(folder, 'fake.py').write_text('import time\\nimport click\\n"
        "from pocket_colbert.cli.command_group import CommandGroup\\n"
        "@click.group(cls=CommandGroup)\\ndef main(): pass\\n"
        '@main.command()\\ndef go():\\n print("ready", flush=True)\\n import slow\\n'
        " time.sleep(20)')\n"
        "run('fake')"
    )
    started = time.monotonic()
    assert interrupted(["go"], 0.1, code) == (130, "Interrupted.\n")
    assert time.monotonic() - started < 10


FINALIZED = """
import pathlib, sys, tempfile
from pocket_colbert.cli.entry import run
folder = tempfile.mkdtemp()
sys.path.insert(0, folder)
pathlib.Path(folder, "fake.py").write_text('''
import time, weakref, click
from pocket_colbert.cli.command_group import CommandGroup
def slow(*_):
    print("ready", flush=True)
    for _ in range(50):
        time.sleep(.01)
class Thing: pass
@click.group(cls=CommandGroup)
def main(): pass
@main.command()
def go():
    thing = Thing()
    FINALIZER
    del thing
    time.sleep(20)
''')
run("fake")
"""


@pytest.mark.parametrize("finalizer", ["weakref.finalize(thing, slow)", "Thing.__del__ = slow"])
def test_an_interrupt_within_a_finalizer_waits_for_its_end(finalizer: str) -> None:
    """Python prints and forgets it there."""
    code = FINALIZED.replace("FINALIZER", finalizer)
    if "__del__" in finalizer:
        code = code.replace("slow", "__del__")
    started = time.monotonic()
    assert interrupted(["go"], 0.1, code) == (130, "Interrupted.\n")
    assert time.monotonic() - started < 15


def test_an_interrupt_after_the_command_ended() -> None:
    code = (
        "import atexit, time\n"
        "from pocket_colbert.cli.entry import main\n"
        "atexit.register(lambda: (print('ready', flush=True), time.sleep(20)))\n"
        "main()"
    )
    assert interrupted(["--version"], 0.05, code)[0] == 130


def test_an_ignored_interrupt_stays_ignored() -> None:
    """As after `nohup`, or in the background of a script."""
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); " + COMMAND
    assert interrupted(["--version"], 0.01, code)[0] == 0
