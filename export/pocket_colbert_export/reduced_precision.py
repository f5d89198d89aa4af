"""int8 and float16 graphs: made, measured against the float32 one, and held against a gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pocket_colbert.model.recipe import ModelConfig
from pocket_colbert.model.tokenizer import Tokenizer
from pocket_colbert_export.errors import ParityError
from pocket_colbert_export.graph.float16 import FLOAT32, write_float16_graph
from pocket_colbert_export.graph.int8 import write_int8_graph
from pocket_colbert_export.proof import parity
from pocket_colbert_export.proof.fidelity import Collection, FidelityMeter
from pocket_colbert_export.proof.probe_texts import probe_pairs
from pocket_colbert_export.proof.report import Float16Recipe, Float16Report, Int8Report
from pocket_colbert_export.quiet import quiet


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """A graph that is to become a smaller one.

    Attributes:
        graph: The float32 graph.
        target: Where the smaller one goes.
        tokenizer: The tokenizer file.
        config: The recipe.
        allow_degraded: Whether a graph that fails its gate may be written.
    """

    graph: Path
    target: Path
    tokenizer: Path
    config: ModelConfig
    allow_degraded: bool

    def meter(self, pairs: Sequence[tuple[str, str]]) -> FidelityMeter:
        """Return what measures graphs against the float32 one on (query, passage) pairs."""
        queries, documents = zip(*pairs, strict=True)
        collection = Collection(
            tokenizer=self.tokenizer, config=self.config, queries=queries, documents=documents
        )
        return FidelityMeter(self.graph, collection)


def make_int8(conversion: Conversion) -> Int8Report:
    """Quantise on every fourth probe text, and measure on every second, none of which is a fourth.

    Raises:
        ParityError: The graph is too far from float32.
        GraphError: It cannot be made.
    """
    pairs = probe_pairs()
    tokenizer = Tokenizer(conversion.tokenizer, conversion.config)
    calibration = [
        {"input_ids": item.input_ids[None], "attention_mask": item.attention_mask[None]}
        for query, passage in pairs[::4]
        for item in (tokenizer.tokenize_document(passage), tokenizer.tokenize_query(query))
    ]
    meter = conversion.meter(pairs[1::2])
    with quiet():  # the quantiser advises a preprocessing that these graphs do not need
        chosen = write_int8_graph(
            conversion.graph, conversion.target, calibration, meter, parity.passes
        )
    failures = parity.failures(chosen.fidelity, parity.INT8_GATE)
    _refuse("int8", failures, conversion.allow_degraded)
    return Int8Report(
        chosen=chosen.recipe.name,
        recipe=chosen.recipe,
        fidelity=chosen.fidelity.rounded(),
        gate=parity.INT8_GATE,
        failures=failures,
        forced=bool(failures),
        tried=chosen.tried,
    )


def make_float16(conversion: Conversion) -> Float16Report:
    """Convert, and measure on all probe texts, alone and in batches.

    Raises:
        ParityError: The graph is too far from float32.
        GraphError: It cannot be made.
    """
    with quiet():  # the converter warns of every weight below float16's smallest number
        write_float16_graph(conversion.graph, conversion.target)
    pairs = probe_pairs()
    fidelity = conversion.meter(pairs).measure(conversion.target)
    tokenizer = Tokenizer(conversion.tokenizer, conversion.config)
    short_and_long = [text for pair in pairs[::4] for text in pair]
    difference = parity.batch_difference(
        conversion.target, tokenizer, conversion.config, short_and_long
    )
    failures = parity.failures(fidelity, parity.FP16_GATE)
    if not difference <= parity.FP16_BATCH_TOLERANCE:
        failures += (
            f"a batch differs from its texts alone by {difference:.1e}, the gate is "
            f"{parity.FP16_BATCH_TOLERANCE:.0e}",
        )
    _refuse("fp16", failures, conversion.allow_degraded)
    return Float16Report(
        chosen="float16",
        recipe=Float16Recipe(float32=FLOAT32),
        fidelity=fidelity.rounded(),
        gate=parity.FP16_GATE,
        batch_max_abs_difference=difference,
        batch_tolerance=parity.FP16_BATCH_TOLERANCE,
        failures=failures,
        forced=bool(failures),
    )


def _refuse(precision: str, failures: Sequence[str], allow_degraded: bool) -> None:
    """Raise ParityError where a graph fails its gate and may not."""
    if failures and not allow_degraded:
        raise ParityError(
            f"{precision} is too far from float32: " + "; ".join(failures) + ". Nothing was "
            "written. Use --precision fp32, or --allow-degraded to write it all the same."
        )
