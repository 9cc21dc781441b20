"""Recorded steps that run without Python. `Program` is the one door; `cpu/backend.py` alone goes through it.

With `from .compiled import Program` there in place of `from .native import Program`, Python replays the calls, with
compiled loops, and this folder is not needed.
"""

from __future__ import annotations

from .program import Program

__all__ = ["Program"]
