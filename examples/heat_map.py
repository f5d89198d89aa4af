"""Write a heat map of what matched, as a notebook shows it, to an HTML file."""

from __future__ import annotations

import sys
from pathlib import Path

from pocket_colbert import Encoder, Retriever
from pocket_colbert.integrations.heat_map import HeatMap

NOTES = {
    "swarming": "Bees swarm in May when the hive is full. Put a second box on it before that.",
    "honey": "Honey keeps for years in a closed jar.",
}


def main(path: Path) -> None:
    question = "When do bees swarm?"
    retriever = Retriever(Encoder.load())
    heat_map = HeatMap.of(retriever, question, retriever.rerank(question, NOTES))
    path.write_text(f'<meta charset="utf-8">{heat_map.to_html()}', encoding="utf-8")
    print(heat_map, "in", path)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "heat_map.html"))
