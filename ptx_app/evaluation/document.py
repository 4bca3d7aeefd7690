"""The evaluation as plain data: what evaluation.json holds and the report is written from."""

from typing import Any

EvaluationDocument = dict[str, Any]
