"""What the Python package carries for sites is what runtime/web builds."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

from tests.support.paths import ROOT
from tests.support.web import WEB, need_web

PAGE = ROOT / "runtime" / "pocket_colbert" / "site" / "page"


def test_worker_and_runtime_are_built_from_the_sources(tmp_path: Path) -> None:
    need_web()
    subprocess.run(["node", "build.mjs", "--site", str(tmp_path)], cwd=WEB, check=True)
    assert (tmp_path / "worker.js").read_bytes() == (PAGE / "worker.js").read_bytes(), (
        "build it: cd runtime/web && node build.mjs --site"
    )
    # Not byte by byte: another zlib packs in another way.
    built = gzip.decompress((tmp_path / "ort.wasm.gz").read_bytes())
    assert built == gzip.decompress((PAGE / "ort.wasm.gz").read_bytes())
