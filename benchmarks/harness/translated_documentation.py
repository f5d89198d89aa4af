"""Questions and passages in many languages, from the translated documentation in Debian.

    python -m benchmarks.harness.translated_documentation FOLDER

Writes a .jsonl file a language to FOLDER, whose lines have `lang`, `query` and `passage`: the
descriptions of GNOME's help pages with the pages (package gnome-user-docs), and the headings of the
Debian Administrator's Handbook with their sections (debian-handbook). What is not translated is
left out of the queries. Needs apt-get and dpkg-deb, so Debian or a system made from it.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from selectolax.lexbor import LexborHTMLParser

PACKAGES = ("gnome-user-docs", "debian-handbook")
LEAST_QUERIES = 60
MOST = 1_500
"""Characters of a passage."""
_NAMESPACE = "{http://projectmallard.org/1.0/}"

Pairs = list[tuple[str, str]]


def main() -> None:
    """Fetch the packages and write what they have."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        work.chmod(0o755)  # for apt's own user
        subprocess.run(["apt-get", "download", "-qq", *PACKAGES], cwd=work, check=True)
        for package in work.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, work / "root"], check=True)
        share = work / "root" / "usr" / "share"
        for name, root, original, read in (
            ("help", share / "help", "C", help_pages),
            ("handbook", share / "doc/debian-handbook/html", "en-US", handbook),
        ):
            english = read(root / original)
            for language in sorted(root.iterdir()):
                others = [] if language.name == original else english
                write(folder, name, language.name, read(language), others)


def write(folder: Path, name: str, language: str, pairs: Pairs, english: Pairs) -> None:
    """Write the pairs of a language, the queries of those that are translated."""
    queries, passages = ({pair[n] for pair in english} for n in (0, 1))
    rows = [
        {
            "lang": language,
            "query": None if query in queries or passage in passages else query,
            "passage": passage,
        }
        for query, passage in pairs
    ]
    if sum(row["query"] is not None for row in rows) >= LEAST_QUERIES:
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (folder / f"{name}-{language}.jsonl").write_text("".join(lines), encoding="utf-8")


def help_pages(folder: Path) -> Pairs:
    """Return the descriptions of GNOME's help pages, and what the pages say."""
    return list(_help_pages(folder))


def _help_pages(folder: Path) -> Iterator[tuple[str, str]]:
    for file in sorted(folder.glob("*/*.page")):
        try:
            root = ElementTree.parse(file).getroot()
        except ElementTree.ParseError:
            continue  # it uses entities of another file
        about = root.find(f"{_NAMESPACE}info/{_NAMESPACE}desc")
        text = " ".join("".join(part.itertext()) for part in root.iter(f"{_NAMESPACE}p"))
        query = "" if about is None else " ".join("".join(about.itertext()).split())
        text = " ".join(text.split())
        if query and len(text) >= 100:
            yield query, text[:MOST]


def handbook(folder: Path) -> Pairs:
    """Return the headings of the handbook, and what is below them."""
    return list(_handbook(folder))


def _handbook(folder: Path) -> Iterator[tuple[str, str]]:
    seen = set()
    for file in sorted(folder.glob("*.html")):
        for section in LexborHTMLParser(file.read_bytes()).css("div.section"):
            heading = section.css_first("h2, h3, h4")
            text = "\n".join(
                part.text().strip()
                for part in section.iter()
                if part.tag == "div" and "para" in (part.attributes.get("class") or "")
            )
            if heading is not None and len(text) >= 150 and text not in seen:
                seen.add(text)
                yield re.sub(r"^[\w.]*\d[\d.\s\u200f]*", "", heading.text().strip()), text[:MOST]


if __name__ == "__main__":
    main()
