"""The preparation of a table in an ONNX graph: raw values of a row become the numbers that a network takes."""

from __future__ import annotations

from .forms import FORMS, PREPARED
from .inputs import table_inputs

__all__ = ["FORMS", "PREPARED", "table_inputs"]
