"""Requests made from the OpenAPI document, right and wrong ones, are answered as it says."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.support.contract import check_contract, without_long_limits
from tests.support.servers import serve_command

pytestmark = pytest.mark.slow

TOKEN = "a-key"
OPERATIONS = 17


def test_the_openapi_document_is_true(library_folder: Path, tmp_path: Path) -> None:
    """All of schemathesis' checks hold; `make contract` makes many more requests."""
    folder = tmp_path / "library.index"
    shutil.copytree(library_folder, folder)
    with serve_command(folder, "--token", TOKEN) as (process, address):
        # `test_long_limits_hold` breaks the limits that take megabytes to reach.
        document = without_long_limits(httpx.get(f"{address}/openapi.json").json())
        done = check_contract(document, address, tmp_path, token=TOKEN, examples=4)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"Selected: {OPERATIONS}/{OPERATIONS}" in done.stdout
        assert int(re.findall(r"([0-9]+) generated", done.stdout)[0]) > 500
        assert process.poll() is None
