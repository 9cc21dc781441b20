"""Recorded steps that run without Python. Only `cpu/backend.py` imports `Program` from here.

With `from .compiled import Program` there in place of `from .native import Program`, Python replays the calls, with
compiled loops, and this folder is not needed.
"""

from __future__ import annotations

from .program import Program

__all__ = ["Program"]
