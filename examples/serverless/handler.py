"""What AWS Lambda calls, as `handler.handler`: opens index and model once, then answers events."""

from __future__ import annotations

from pathlib import Path

from pocket_colbert.deploy.lambda_handler import LambdaHandler

handler = LambdaHandler(Path(__file__).parent)
