"""Runs JavaScript of runtime/web, where Node and its packages are there."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

WEB = Path(__file__).parents[2] / "runtime" / "web"


def need_web() -> None:
    """Skip a test unless Node 20 and the packages of runtime/web are there."""
    missing = _missing()
    if missing:
        pytest.skip(missing)


@functools.cache
def _missing() -> str:
    node = shutil.which("node")
    if node is None:
        return "needs Node 20"
    version = subprocess.run([node, "--version"], capture_output=True, text=True).stdout
    if int(version.strip().removeprefix("v").partition(".")[0] or 0) < 20:
        return f"needs Node 20, this is {version.strip()}"
    if not (WEB / "node_modules").is_dir():
        return "needs npm ci in runtime/web"
    built = subprocess.run(["npm", "run", "build"], cwd=WEB, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return ""


def run_module(source: str, given: Any) -> Any:
    """Run a module of JavaScript in Node.

    Args:
        source: Its text; `given` is what it is given, `pocket` the package, and it calls `done`
            with what comes back.
        given: What JSON can hold.

    Returns:
        What `done` was called with.
    """
    prelude = """
        import * as pocket from "./dist/node.js";
        import { readFileSync } from "node:fs";
        const given = JSON.parse(readFileSync(0, "utf8"));
        const done = (value) => process.stdout.write(JSON.stringify(value));
    """
    ran = subprocess.run(
        ["node", "--input-type=module", "--eval", prelude + source],
        cwd=WEB, input=json.dumps(given), capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)
