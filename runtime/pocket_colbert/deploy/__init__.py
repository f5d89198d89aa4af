"""Search as an AWS Lambda function: the handler and the zip that carries it."""

from __future__ import annotations
