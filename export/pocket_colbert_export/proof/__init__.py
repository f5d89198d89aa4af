"""Evidence that an exported graph computes and ranks as the original does."""

from __future__ import annotations
