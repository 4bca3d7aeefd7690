"""The evaluation as plain data: the content of evaluation.json, from which the report is written."""

from typing import Any

EvaluationDocument = dict[str, Any]
