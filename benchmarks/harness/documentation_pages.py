"""The pages that `questions/documentation.jsonl` asks about, from Debian's packages.

    python -m benchmarks.harness.documentation_pages FOLDER

173 pages of freely licensed documentation, HTML and roff: handbooks, references and manual pages
of the packages that `questions/pages.json` names. It needs apt-get and dpkg-deb, so Debian or a
system made from it; a page that differs from the one that the questions were written for (another
release of its package) is named.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

QUESTIONS = Path(__file__).parents[1] / "questions"


def pages() -> list[dict[str, Any]]:
    """Return package, path in it, name below the folder, and sha256 of each page."""
    return list(json.loads((QUESTIONS / "pages.json").read_text(encoding="utf-8")))


def fetch(folder: Path) -> list[str]:
    """Write the pages to a folder, unpacked.

    Returns:
        Names of pages that are missing or differ.
    """
    different = []
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        work.chmod(0o755)  # for apt's own user
        wanted = sorted({page["package"] for page in pages()})
        subprocess.run(["apt-get", "download", "-qq", *wanted], cwd=work, check=True)
        for package in work.glob("*.deb"):
            unpacked = work / package.name.partition("_")[0]
            subprocess.run(["dpkg-deb", "-x", package, unpacked], check=True)
        for page in pages():
            source = work / page["package"] / page["path"]
            content = source.read_bytes() if source.is_file() else b""
            content = gzip.decompress(content) if source.suffix == ".gz" and content else content
            if hashlib.sha256(content).hexdigest() != page["sha256"]:
                different.append(page["name"])
            if content:
                target = folder / page["name"]
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
    return different


def main() -> None:
    """Fetch the pages and say what differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    different = fetch(parser.parse_args().folder)
    for name in different:
        print(f"{name} differs from the page that questions were written for", file=sys.stderr)
    print(f"{len(pages()) - len(different)} of {len(pages())} pages are the same")


if __name__ == "__main__":
    main()
