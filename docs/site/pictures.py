"""Draw the pictures of "How late interaction works" from runs of the bundled model.

    python docs/site/pictures.py

writes docs/images/maxsim.svg and docs/images/bytes.svg. It needs the checkout, the base install and
half a minute. The second picture uses the exporter's own probe texts.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pocket_colbert import Encoder, Index, IndexConfig, TruncationWarning, maxsim_pairwise
from pocket_colbert.config import CODES

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
PROBE = ROOT / "export" / "pocket_colbert_export" / "proof" / "data" / "probe.jsonl"

QUERY = "When do bees swarm?"
MARKERS = {"[unused0]": "[Q]", "[unused1]": "[D]"}
"""The papers' names for the tokens that mark queries and documents."""
PASSAGE = "In May the old queen leaves the hive with half of the colony."

# The page can be dark while the system is light, so a picture has its own background.
STYLE = """
  text { font: 13px ui-sans-serif, system-ui, sans-serif; fill: #1f2328; white-space: pre; }
  .score { font-weight: 600; }
  .small { font-size: 12px; fill: #59636e; }
  .ground { fill: #ffffff; stroke: #d1d9e0; }
  .cell { fill: #e8590c; }
  .best { fill: none; stroke: #1f2328; stroke-width: 2; }
  .bar { fill: #e8590c; }
  .plain { fill: #adb5bd; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; }
    .small { fill: #9198a1; }
    .ground { fill: #151b23; stroke: #3d444d; }
    .best { stroke: #f0f6fc; }
    .cell, .bar { fill: #ff922b; }
    .plain { fill: #656c76; }
  }
"""


@dataclass(frozen=True)
class Matrix:
    """A query and a passage, token by token.

    Attributes:
        rows: The query's tokens.
        columns: The passage's tokens.
        similarities: (rows, columns) float32, their cosines.
        filled: Number of tokens that pad the query, which are not drawn.
        filled_score: What those add to the score.
    """

    rows: list[str]
    columns: list[str]
    similarities: NDArray[np.float32]
    filled: int
    filled_score: float


@dataclass(frozen=True)
class Size:
    """The size of a document's token vectors under some codes, and what they cost.

    Attributes:
        name: The codes, or the type of a plain array.
        bytes_per_document: Mean size of a document's token vectors.
        same: Share of the top 10 of exact float32 search that stays, None for float32.
    """

    name: str
    bytes_per_document: float
    same: float | None


def measure_matrix(encoder: Encoder) -> Matrix:
    """Encode the picture's query and passage."""
    similarities = encoder.encode_query([QUERY])[0] @ encoder.encode_document([PASSAGE])[0].T
    rows = [MARKERS.get(token.label, token.label) for token in encoder.query_tokens(QUERY)]
    columns = [MARKERS.get(token.label, token.label) for token in encoder.document_tokens(PASSAGE)]
    filled = np.array([row == "[MASK]" for row in rows])
    return Matrix(
        [row for row in rows if row != "[MASK]"],
        columns,
        similarities[~filled],
        int(filled.sum()),
        float(similarities[filled].max(axis=1).sum(dtype=np.float32)),
    )


def measure_sizes(encoder: Encoder) -> tuple[int, float, list[Size]]:
    """Index the exporter's passages with each kind of codes.

    Returns:
        Number of documents, mean number of token vectors, and the sizes.
    """
    pairs = [json.loads(line) for line in PROBE.read_text(encoding="utf-8").splitlines()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)  # one query is longer than the window
        queries = encoder.encode_query([pair["query"] for pair in pairs])
    passages = encoder.encode_document([pair["passage"] for pair in pairs])
    ids = [str(n) for n in range(len(passages))]
    exact = [np.argsort(-maxsim_pairwise(query, passages), kind="stable")[:10] for query in queries]
    tokens = sum(map(len, passages)) / len(passages)
    sizes = [Size("float32", tokens * encoder.dim * 4, None)]
    for codes in CODES:
        with tempfile.TemporaryDirectory() as folder:
            config = IndexConfig(dim=encoder.dim, codes=codes)
            with Index.create(Path(folder) / "index", config) as index:
                index.add(ids, passages)
                index.commit()
                hits = index.search(queries, 10)
                taken = index.info().bytes["vectors"] / len(passages)
        same = [
            len({hit.document_id for hit in query_hits} & {str(n) for n in best}) / 10
            for query_hits, best in zip(hits, exact, strict=True)
        ]
        sizes.append(Size(codes, taken, float(np.mean(same))))
    return len(passages), tokens, sizes


def draw_matrix(matrix: Matrix) -> str:
    """Draw similarities as shades, with a frame around each query token's best match."""
    side, left, top = 32, 92, 104
    width = left + side * len(matrix.columns) + 190
    height = top + side * len(matrix.rows) + 66
    low, high = matrix.similarities.min(), matrix.similarities.max()
    parts = []
    for n, name in enumerate(matrix.columns):
        x = left + side * n + side / 2 + 4
        transform = f"translate({x:g} {top - 10}) rotate(-55)"
        parts.append(f'<text transform="{transform}">{escape(name)}</text>')
    for m, name in enumerate(matrix.rows):
        y = top + side * m
        parts.append(f'<text x="{left - 10}" y="{y + 21}" text-anchor="end">{escape(name)}</text>')
        for n, value in enumerate(matrix.similarities[m]):
            opacity = ((value - low) / (high - low)) ** 2
            parts.append(
                f'<rect class="cell" x="{left + side * n + 1}" y="{y + 1}" width="{side - 2}" '
                f'height="{side - 2}" rx="3" fill-opacity="{0.04 + 0.96 * opacity:.2f}"/>'
            )
        best = int(matrix.similarities[m].argmax())
        parts.append(
            f'<rect class="best" x="{left + side * best + 1}" y="{y + 1}" width="{side - 2}" '
            f'height="{side - 2}" rx="3"/>'
        )
        label = f"{matrix.similarities[m, best]:.2f}  {matrix.columns[best]}"
        x = left + side * len(matrix.columns) + 12
        parts.append(f'<text x="{x}" y="{y + 21}">{escape(label)}</text>')
    x, y = left + side * len(matrix.columns) + 12, top + side * len(matrix.rows) + 22
    score = float(matrix.similarities.max(axis=1).sum(dtype=np.float32)) + matrix.filled_score
    parts += [
        f'<text x="{x}" y="{y}">{matrix.filled_score:.2f}  {matrix.filled} × [MASK]</text>',
        f'<text x="{x}" y="{y + 28}" class="score">{score:.2f}  the score</text>',
        f'<text class="small" x="{left}" y="{y}">cosines from {low:.2f} (faint) to {high:.2f} '
        "(full); framed: the best of a row</text>",
    ]
    what = f"Every token of “{QUERY}” against every token of “{PASSAGE}”"
    return _svg(width, height, what, parts)


def draw_sizes(documents: int, tokens: float, sizes: list[Size]) -> str:
    """Draw sizes as bars, labelled with the share of the top 10 that stays."""
    left, top, step, longest = 74, 42, 34, 420
    width, height = left + longest + 260, top + step * len(sizes) + 22
    most = max(size.bytes_per_document for size in sizes)
    parts = [
        f'<text class="small" x="{left}" y="24">bytes per document: {documents} documents of '
        f"{tokens:.0f} token vectors on average</text>"
    ]
    for n, size in enumerate(sizes):
        y = top + step * n
        length = longest * size.bytes_per_document / most
        kind = "plain" if size.same is None else "bar"
        stays = "" if size.same is None else f", {size.same:.1%} of the top 10 the same"
        parts += [
            f'<text x="{left - 10}" y="{y + 18}" text-anchor="end">{size.name}</text>',
            f'<rect class="{kind}" x="{left}" y="{y + 3}" width="{length:.1f}" height="22" '
            'rx="3"/>',
            f'<text x="{left + length + 10:.1f}" y="{y + 18}">'
            f"{size.bytes_per_document:,.0f}{stays}</text>".replace(",", " ", 1),
        ]
    return _svg(width, height, "Bytes per document by codes", parts)


def _svg(width: int, height: int, what: str, parts: list[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" aria-label="{escape(what)}">\n'
        f"<style>{STYLE}</style>\n"
        f'<rect class="ground" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>\n'
        f"{body}\n</svg>\n"
    )


def main() -> None:
    """Write both pictures."""
    encoder = Encoder.load()
    IMAGES.joinpath("maxsim.svg").write_text(draw_matrix(measure_matrix(encoder)), "utf-8")
    IMAGES.joinpath("bytes.svg").write_text(draw_sizes(*measure_sizes(encoder)), "utf-8")


if __name__ == "__main__":
    main()
