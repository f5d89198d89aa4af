"""Requests that schemathesis makes from a server's OpenAPI document, with all of its checks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT


def without_long_limits(schema: Any) -> Any:
    """Leave out limits that take megabytes to reach."""
    if isinstance(schema, list):
        return [without_long_limits(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: without_long_limits(value)
        for key, value in schema.items()
        if key not in ("maxLength", "maxItems") or not isinstance(value, int) or value < 1000
    }


def check_contract(
    document: dict[str, Any],
    address: str,
    folder: Path,
    *,
    token: str,
    examples: int,
    seed: int = 1,
    phases: str = "examples,coverage,fuzzing,stateful",
) -> subprocess.CompletedProcess[str]:
    """Run schemathesis over every operation of a document.

    Args:
        document: The OpenAPI document.
        address: The server's address.
        folder: Where files may be written.
        token: The token the server asks for.
        examples: Requests of an operation at most, in each phase that makes them at random.
        seed: What is random follows from it.
        phases: What schemathesis does.

    Returns:
        The finished command, whose output names what it found.
    """
    path = folder / "openapi.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    hooks = "tests.support.contract_hooks"
    return subprocess.run(
        [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()",
         "run", str(path), "--url", address, "--header", f"Authorization: Bearer {token}",
         "--checks", "all", "--phases", phases, "--max-examples", str(examples),
         "--seed", str(seed), "--generation-database", "none", "--continue-on-failure",
         "--no-color", "--request-timeout", "60", "--warnings", "off"],
        cwd=folder, capture_output=True, text=True, check=False,
        env={
            **os.environ, "SCHEMATHESIS_HOOKS": hooks,
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        },
    )  # fmt: skip
