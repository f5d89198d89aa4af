"""The handler that AWS Lambda calls (`handler.handler`): loads index and model once."""

from __future__ import annotations

from pathlib import Path

from pocket_colbert.deploy.lambda_handler import LambdaHandler

handler = LambdaHandler(Path(__file__).parent)
