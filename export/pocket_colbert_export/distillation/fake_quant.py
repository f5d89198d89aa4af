"""int8 as the runtime computes it, inside training, so that a student learns to cope with it.

Rounding is exact going forward and invisible going back (Bengio et al. 2013, arXiv 1308.3432, the
straight-through estimator). Ranges are the runtime's: one a text for activations, one an output
channel for weights, one a row for embedding tables, after the smoothing that the exporter tries
(`graph.int8`), whose factors are fixed when this begins.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.nn.utils import parametrize

SMOOTHING = 0.75


class _Rows(torch.nn.Module):
    """Rounds each row of a matrix to int8."""

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        scale = weight.detach().abs().amax(dim=1, keepdim=True).clamp_min(1e-12) / 127
        return _through(weight, (weight / scale).round() * scale)


class _SmoothedRows(_Rows):
    """Rounds each row of a matrix whose columns are scaled."""

    def __init__(self, factor: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("factor", factor)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return super().forward(weight * self.factor) / self.factor


def _through(values: torch.Tensor, rounded: torch.Tensor) -> torch.Tensor:
    return values + (rounded - values).detach()


def round_activations(values: torch.Tensor) -> torch.Tensor:
    """Round (texts, length, width) activations to 8 bits with one range, 0 in it, a text."""
    flat = values.detach().flatten(1)
    low, high = flat.amin(dim=1).clamp_max(0), flat.amax(dim=1).clamp_min(0)
    scale = ((high - low) / 255).clamp_min(1e-12)
    scale = scale.view(-1, *[1] * (values.dim() - 1))
    return _through(values, (values / scale).round() * scale)


def _linears(module: torch.nn.Module) -> list[torch.nn.Linear]:
    return [item for item in module.modules() if isinstance(item, torch.nn.Linear)]


def fake_quantize(
    module: torch.nn.Module, batches: Iterable[tuple[torch.Tensor, torch.Tensor]]
) -> None:
    """Make a module round as int8 does from now on.

    Args:
        module: Called with ids and mask; changed in place. `remove_fake_quantization` undoes it.
        batches: A few (input_ids, attention_mask) to observe the range of activations on.
    """
    peaks: dict[torch.nn.Linear, torch.Tensor] = {}

    def observe(layer: torch.nn.Linear, inputs: tuple[torch.Tensor]) -> None:
        peak = inputs[0].detach().abs().flatten(0, -2).amax(dim=0).float()
        peaks[layer] = torch.maximum(peaks.get(layer, peak), peak)

    hooks = [item.register_forward_pre_hook(observe) for item in _linears(module)]
    with torch.no_grad():
        for ids, mask in batches:
            module(ids, mask)
    for hook in hooks:
        hook.remove()
    for layer, peak in peaks.items():
        columns = layer.weight.detach().abs().amax(dim=0).clamp_min(1e-5)
        factor = peak.clamp_min(1e-5) ** SMOOTHING / columns ** (1 - SMOOTHING)
        factor = (factor / factor.log().mean().exp()).clamp(1e-3, 1e3)
        parametrize.register_parametrization(layer, "weight", _SmoothedRows(factor))
        layer.register_forward_pre_hook(_round_input)
    for table in module.modules():
        if isinstance(table, torch.nn.Embedding) and table.num_embeddings >= 64:
            parametrize.register_parametrization(table, "weight", _Rows())


def _round_input(layer: torch.nn.Linear, inputs: tuple[torch.Tensor]) -> torch.Tensor:
    factor = layer.parametrizations.weight[0].factor
    return round_activations(inputs[0] / factor) * factor


def remove_fake_quantization(module: torch.nn.Module) -> None:
    """Give a module its float weights back, as training has changed them."""
    for item in list(module.modules()):
        if parametrize.is_parametrized(item):
            parametrize.remove_parametrizations(item, "weight", leave_parametrized=False)
            item._forward_pre_hooks.clear()
