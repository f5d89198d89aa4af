"""Plot the results of tuning. The only module that imports `matplotlib` (extra "eval")."""

from __future__ import annotations

from pathlib import Path

from pocket_colbert.errors import OptionalDependencyError
from pocket_colbert.evaluation.tuning import Measurement, Tuning

_COLOURS = {"int8": "#4c72b0", "int4": "#55a868", "int2": "#dd8452", "int1": "#c44e52"}


def plot(tuning: Tuning, recommended: Measurement | None, title: str, path: Path) -> None:
    """Plot quality against size, with the frontier and the recommended setting.

    Args:
        tuning: The measurements.
        recommended: The setting to mark, if any.
        title: Title of the plot.
        path: File to write, with the suffix .svg or .png.

    Raises:
        OptionalDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise OptionalDependencyError.of("tune", "eval") from error
    # pyplot would keep global state and could need a display.
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for codes, colour in _COLOURS.items():
        items = [item for item in tuning.measured if item.codes == codes]
        axes.scatter(
            [item.bytes_per_document for item in items],
            [100 * item.quality for item in items],
            color=colour, s=22, label=codes, zorder=3,
        )  # fmt: skip
    frontier = tuning.frontier()
    axes.plot(
        [item.bytes_per_document for item in frontier],
        [100 * item.quality for item in frontier],
        color="#999999", linewidth=1, label="frontier", zorder=2,
    )  # fmt: skip
    for item in frontier:
        axes.annotate(
            item.label, (item.bytes_per_document, 100 * item.quality),
            textcoords="offset points", xytext=(4, -9), fontsize=7, color="#555555",
        )  # fmt: skip
    if recommended is not None:
        axes.scatter(
            [recommended.bytes_per_document], [100 * recommended.quality], marker="*", s=260,
            color="#000000", label=f"{recommended.codes}, {recommended.label}", zorder=4,
        )  # fmt: skip
    axes.axhline(100, color="#cccccc", linewidth=1, zorder=1)
    axes.set_xscale("log")
    axes.set_xlabel("bytes per document (vectors)")
    axes.set_ylabel("% of unpruned float32 quality kept, with 95 % confidence")
    axes.set_title(title)
    axes.legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
