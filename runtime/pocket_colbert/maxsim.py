"""`pocket_colbert.maxsim` is a function; here it also answers to the name as a module.

`from pocket_colbert import maxsim; maxsim(query, document)` and
`import pocket_colbert.maxsim as m; m.maxsim_pairwise(query, documents)` both work, in any order:
importing this file puts the function in the module's place.
"""

from __future__ import annotations

import sys

from pocket_colbert.vectors.maxsim_float import maxsim, maxsim_pairwise

__all__ = ["maxsim", "maxsim_pairwise"]

vars(maxsim).update(maxsim=maxsim, maxsim_pairwise=maxsim_pairwise)
sys.modules[__name__] = maxsim  # type: ignore[assignment]
