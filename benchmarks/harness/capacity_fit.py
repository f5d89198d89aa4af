"""What `benchmarks.studies.capacity` measured, as lines, extrapolations and Markdown tables."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MILLION, BILLION = 1e6, 1e9
IN_USE = 0.8
"""Share of a machine's memory that an index may fill."""

MACHINES = {
    "2 cores, 8 GB": (2, 8e9),
    "16 cores, 64 GB": (16, 64e9),
    "64 cores, 512 GB": (64, 512e9),
}
LARGEST = "64 cores, 512 GB"
SECONDS = 1.0
"""How long a query may take in `holding`."""

GPU_BYTES, GPU_BANDWIDTH = 80e9, 3.35e12
"""Memory and its bytes a second of an H100 SXM, from its data sheet."""

DEFAULT_PATH = "index, approximate"

Point = Mapping[str, Any]


@dataclass(frozen=True)
class Line:
    """A cost that grows with the number of documents: `fixed + per_document * documents`.

    Attributes:
        fixed: What no document costs.
        per_document: What each adds.
        residual: The largest distance of a measurement from the line, as a share of it.
        largest: The largest number of documents that was measured.
    """

    fixed: float
    per_document: float
    residual: float
    largest: int

    @property
    def per_million(self) -> float:
        """What a million documents add."""
        return self.per_document * MILLION


def fit(documents: Sequence[int], values: Sequence[float]) -> Line:
    """Fit a line by least squares of relative distances, so that small sizes count as large ones.

    Args:
        documents: Numbers of documents, at least two different ones.
        values: What was measured at each, > 0.

    Raises:
        ValueError: There are fewer than two sizes, or a value is not above 0.
    """
    if len(set(documents)) < 2 or len(documents) != len(values):
        raise ValueError(f"a line needs values at two sizes or more, got {documents}, {values}.")
    x, y = np.asarray(documents, float), np.asarray(values, float)
    if not (y > 0).all():
        raise ValueError(f"values must be above 0, got {values}.")
    slope, fixed = np.polyfit(x, y, 1, w=1 / y)
    residual = float(np.abs((fixed + slope * x) / y - 1).max())
    return Line(float(fixed), float(slope), residual, int(x.max()))


COSTS = {
    "disk_bytes": ("disk, GB", 1e-9),
    "private_bytes": ("private memory, GB", 1e-9),
    "file_bytes": ("mapped files, GB", 1e-9),
    "build_peak_bytes": ("peak while building, GB", 1e-9),
    "build_seconds": ("building, hours", 1 / 3600),
    "ms_one": ("query, one core, s", 1e-3),
    "ms_all": ("query, all cores, s", 1e-3),
}
"""What is fitted: how the tables name it, and its unit."""


def lines_of(path: Mapping[str, Any]) -> dict[str, Line]:
    """Fit each cost of a path that was measured at all its sizes."""
    points: Sequence[Point] = path["points"]
    sizes = [point["documents"] for point in points]
    return {
        key: fit(sizes, [point[key] for point in points])
        for key in COSTS
        if all(key in point for point in points)
    }


def short(value: float) -> str:
    """Write a number with three digits, or all before the point."""
    if not math.isfinite(value):
        return "any"
    if abs(value) >= 100 or value == round(value):
        return f"{value:,.0f}".replace(",", " ")
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{value:.{digits}f}" if digits <= 5 else f"{value:.1e}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    first, *others = ("| " + " | ".join(cells) + " |" for cells in (head, *rows))
    return "\n".join([first, "|---" * len(head) + "|", *others])


def measured(results: Mapping[str, Any]) -> str:
    """Return the table of all measurements."""
    units = {
        "disk_bytes": 1e-6, "private_bytes": 1e-6, "file_bytes": 1e-6, "build_peak_bytes": 1e-6,
        "build_seconds": 1, "ms_one": 1, "ms_all": 1,
    }  # fmt: skip
    rows = []
    for path in results["paths"]:
        for point in path["points"]:
            same = point.get("first_10_as_exact")
            rows.append([
                path["name"], short(point["documents"]),
                *(short(point[key] * unit) if key in point else "" for key, unit in units.items()),
                "" if same is None else f"{same:.3f}", str(point["queries"]),
            ])  # fmt: skip
    head = [
        "", "documents", "disk MB", "private MB", "mapped MB", "peak MB, building", "building, s",
        "ms, one core", f"ms, {results['cores']} cores", "first 10 as exact", "queries",
    ]  # fmt: skip
    return table(head, rows)


def _per_million(results: Mapping[str, Any], costs: Sequence[str]) -> str:
    rows = []
    for path in results["paths"]:
        lines = lines_of(path)
        cells = []
        for key in costs:
            cells.append("")
            if key in lines:
                line, unit = lines[key], COSTS[key][1]
                fixed, each = round(line.fixed * unit, 3) + 0.0, round(line.per_million * unit, 9)
                cells[-1] = f"{fixed:.3f} + **{short(each)}** ({100 * line.residual:.0f} %)"
        rows.append([path["name"], *cells, short(MILLION / lines["ms_all"].largest)])
    head = ["", *(COSTS[key][0] for key in costs), "times the largest measured"]
    return table(head, rows)


def bytes_per_million(results: Mapping[str, Any]) -> str:
    """Return the bytes that no document and that a million take, with the lines' residuals."""
    return _per_million(results, [key for key in COSTS if key.endswith("bytes")])


def time_per_million(results: Mapping[str, Any]) -> str:
    """Return the same of time."""
    return _per_million(results, [key for key in COSTS if not key.endswith("bytes")])


def held(lines: Mapping[str, Line]) -> Line:
    """Return the bytes that should be in memory: the files, or what is held without any."""
    return lines["disk_bytes"] if "disk_bytes" in lines else lines["private_bytes"]


def holding(results: Mapping[str, Any]) -> str:
    """Return how many documents a machine holds, and whether memory or time ends it."""
    rows = []
    for path in results["paths"]:
        lines = lines_of(path)
        kept = held(lines)
        cells = []
        for cores, memory in MACHINES.values():
            by_memory = (IN_USE * memory - kept.fixed) / kept.per_document
            query = lines["ms_all"]
            one_second = 1000 * SECONDS * cores / results["cores"]
            by_time = math.inf
            if query.per_document > 0:
                by_time = (one_second - query.fixed) / query.per_document
            number, why = min((by_memory, "memory"), (by_time, "time"))
            cells.append(f"{short(number / MILLION)} ({why})")
        rows.append([path["name"], *cells])
    return table(["millions of documents", *MACHINES], rows)


@dataclass(frozen=True)
class Demand:
    """What a billion passages take on a path, computed from what a document adds alone.

    Attributes:
        documents: Documents that they are.
        bytes: Bytes that should be in memory.
        machines: Machines that have them there.
        work: Core-seconds a query.
        spread: Seconds a query, where the work is spread evenly over all cores of the machines.
        building: Core-seconds.
    """

    documents: float
    bytes: float
    machines: int
    work: float
    spread: float
    building: float

    @classmethod
    def of(cls, results: Mapping[str, Any], lines: Mapping[str, Line]) -> Demand:
        """Compute it."""
        documents = BILLION / results["collection"]["passages_per_document"]
        cores, memory = MACHINES[LARGEST]
        kept = documents * held(lines).per_document
        machines = math.ceil(kept / (IN_USE * memory))
        work = lines["ms_all"].per_document * documents * results["cores"] / 1000
        building = lines["build_seconds"].per_document * documents * results["cores"]
        return cls(documents, kept, machines, work, work / machines / cores, building)


def billion(results: Mapping[str, Any]) -> str:
    """Return what a billion passages take on all paths."""
    rows = []
    for path in results["paths"]:
        lines = lines_of(path)
        need = Demand.of(results, lines)
        rows.append([
            path["name"], short(need.bytes / 1e12), short(need.machines), short(need.work),
            short(need.spread), short(need.building / 86400),
            short(need.documents / lines["ms_all"].largest),
        ])  # fmt: skip
    head = [
        "1 billion passages", "TB", "machines", "core-seconds a query", "s a query on them",
        "core-days to build", "times the largest measured",
    ]  # fmt: skip
    return table(head, rows)


def worked(results: Mapping[str, Any]) -> str:
    """Return the arithmetic of the default path, step by step, and the floor of a GPU."""
    found = results["collection"]
    lines = lines_of(next(path for path in results["paths"] if path["name"] == DEFAULT_PATH))
    need = Demand.of(results, lines)
    cores, memory = MACHINES[LARGEST]
    million = need.documents / MILLION
    vectors = BILLION * found["tokens_per_passage"]
    encoded = results["encoding"]["documents_per_second_one_core"]
    half, gpu = vectors * found["dim"] * 2, IN_USE * GPU_BYTES
    steps = [
        ("documents", f"1 billion passages / {found['passages_per_document']:.2f} a document",
         f"{short(million)} million"),
        ("token vectors", f"1 billion passages x {short(found['tokens_per_passage'])}",
         f"{short(vectors / BILLION)} billion"),
        ("bytes", f"{short(million)} million x {short(held(lines).per_document)} a document",
         f"{short(need.bytes / 1e12)} TB"),
        ("machines", f"/ ({IN_USE} x {short(memory / 1e9)} GB), rounded up", short(need.machines)),
        ("a query", f"{short(million)} x {short(need.work / million)} core-seconds a million "
         "documents", f"{short(need.work)} core-seconds"),
        ("", f"/ ({short(need.machines)} machines x {cores} cores)", f"{short(need.spread)} s"),
        ("building", f"{short(million)} x {short(need.building / million)} core-seconds a million "
         "documents", f"{short(need.building / 86400)} core-days"),
        ("encoding", f"{short(million)} million / {short(encoded)} documents a second and core",
         f"{short(need.documents / encoded / 86400)} core-days"),
        ("on GPUs, NOT MEASURED:", "", ""),
        ("float16 bytes", f"{short(vectors / BILLION)} billion x {found['dim']} x 2",
         f"{short(half / 1e12)} TB"),
        ("H100s for them", f"/ ({IN_USE} x {short(GPU_BYTES / 1e9)} GB), rounded up",
         short(math.ceil(half / gpu))),
        ("a query, at least", f"{IN_USE} x {short(GPU_BYTES / 1e9)} GB / "
         f"{short(GPU_BANDWIDTH / 1e12)} TB a second",
         f"{short(1000 * gpu / GPU_BANDWIDTH)} ms of all of them"),
    ]  # fmt: skip
    text = [f"{name:24}{sum_:58}= {so}" if so else name for name, sum_, so in steps]
    return "\n".join(["```text", *text, "```"])


DIVISORS = (
    ("approximate search instead of exact", "index, exact", "index, approximate"),
    ("pooling by 2, exact search", "index, exact", "index pooled by 2, exact"),
    ("pooling by 2, approximate search", "index, approximate", "index pooled by 2, approximate"),
    ("float16 in LanceDB, exact search", "LanceDB float32, exact", "LanceDB float16, exact"),
    ("float16 in Qdrant, exact search", "Qdrant float32, exact", "Qdrant float16, exact"),
    ("IVF_PQ in LanceDB float32", "LanceDB float32, exact", "LanceDB float32, approximate"),
)


def divisors(results: Mapping[str, Any]) -> str:
    """Return by what a choice divides bytes and work of a query, of what a document adds."""
    lines = {path["name"]: lines_of(path) for path in results["paths"]}
    rows = [
        [
            what,
            *(
                short(lines[before][key].per_document / lines[after][key].per_document)
                for key in ("disk_bytes", "ms_all")
            ),
        ]
        for what, before, after in DIVISORS
        if before in lines and after in lines
    ]
    return table(["", "bytes divided by", "time divided by"], rows)


def collection(results: Mapping[str, Any]) -> str:
    """Return what was measured on what, as a list."""
    found, speed = results["collection"], results["encoding"]
    return "\n".join([
        f"- {results['machine']}, {short(results['memory_bytes'] / 1e9)} GB; "
        + ", ".join(f"{name} {version}" for name, version in results["versions"].items()) + ".",
        f"- {short(found['real'])} real documents of {found['name']}, the others synthetic: "
        f"{found['passages_per_document']:.2f} passages, {short(found['tokens_per_document'])} "
        f"token vectors of {found['dim']} components and "
        f"{short(found['characters_per_document'])} characters a document; "
        f"{short(found['tokens_per_passage'])} token vectors a passage. Pooled by 2 they are "
        f"{short(found['pooled_tokens_per_document'])} a document.",
        f"- Encoding takes the model `{found['model']}` 1 second of one core for "
        f"{short(speed['documents_per_second_one_core'])} documents, of {results['cores']} for "
        f"{short(speed['documents_per_second_all_cores'])}.",
    ])  # fmt: skip


BLOCKS = {
    "collection": collection, "measured": measured, "bytes": bytes_per_million,
    "time": time_per_million, "holding": holding, "divisors": divisors, "billion": billion,
    "worked": worked,
}  # fmt: skip
"""What stands between `<!-- capacity: NAME -->` and `<!-- /capacity -->` on a page."""

_BLOCK = re.compile(r"(<!-- capacity: ([a-z-]+) -->\n).*?(<!-- /capacity -->)", re.DOTALL)


def with_blocks(page: str, results: Mapping[str, Any]) -> str:
    """Return a page with its marked blocks made from results.

    Raises:
        KeyError: A mark names no block.
    """
    return _BLOCK.sub(lambda m: f"{m[1]}\n{BLOCKS[m[2]](results)}\n\n{m[3]}", page)
