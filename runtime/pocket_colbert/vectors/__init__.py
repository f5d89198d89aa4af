"""Arrays in, arrays out: MaxSim, codes, pruning and pooling of token vectors."""

from __future__ import annotations
