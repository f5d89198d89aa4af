"""Tests of pocket_colbert and pocket_colbert_export."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.support")
