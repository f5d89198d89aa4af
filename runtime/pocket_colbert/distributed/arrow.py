"""`pyarrow`, or an error that names the extra that brings it."""

from __future__ import annotations

from pocket_colbert.errors import OptionalDependencyError

try:
    import pyarrow as pa
    import pyarrow.fs
    import pyarrow.parquet as pq
except ImportError as _error:
    raise OptionalDependencyError.of("encoding on many machines", "ray") from _error

fs = pyarrow.fs

__all__ = ["fs", "pa", "pq"]
