"""Draw how distillation went, from the progress files that it leaves.

python -m benchmarks.studies.curves small=WORK/runs/KEY/progress.jsonl --plot FILE.svg
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

CURVES = {
    "token": "share of the teacher's token vectors that is missed",
    "score": "divergence from the ensemble's ranking",
    "agreement": "queries whose first passage is the ensemble's",
}


def main() -> None:
    """Read and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="NAME=FILE")
    parser.add_argument("--plot", type=Path, required=True)
    options = parser.parse_args()
    figure = Figure(figsize=(14, 4), layout="constrained")
    FigureCanvasSVG(figure)
    for axes, (loss, label) in zip(figure.subplots(1, len(CURVES)), CURVES.items(), strict=True):
        for number, item in enumerate(options.runs):
            name, _, path = item.partition("=")
            rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
            held_out = [row for row in rows if f"held-out {loss}" in row]
            colour = f"C{number}"
            if loss in rows[0]:
                axes.plot([r["step"] for r in rows], [r[loss] for r in rows], colour, alpha=0.4)
            axes.plot(
                [r["step"] for r in held_out],
                [r[f"held-out {loss}"] for r in held_out],
                f"{colour}o-",
                label=f"{name}, held out",
            )
        axes.set(xlabel="step", title=label)
        axes.legend()
        axes.grid(alpha=0.3)
    figure.savefig(options.plot, metadata={"Date": None})


if __name__ == "__main__":
    main()
