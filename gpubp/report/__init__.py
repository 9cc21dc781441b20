"""A self-contained HTML report of a training run: one file that loads no other and runs no script.

content   the arguments of `write_report` as one object
words     sentences: how good the network is beside a guess, and what its curves show
results   the evaluated rows: classes, labels, numbers
facts     data, times, machine
figures   curves, as SVG
page      all of it through the template page.html, with parts.html and page.css
"""

from __future__ import annotations

from .facts import Part
from .page import require_report, write_report

__all__ = ["Part", "require_report", "write_report"]
