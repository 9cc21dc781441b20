"""A report of a training: one page of HTML that needs nothing else, neither a network nor a script.

words     how good the network is beside a guess, and what its curves show
judged    the rows it is judged by: classes, labels, numbers
facts     data, times, machine
figures   curves, as SVG
page      all of it through the template page.html, with page.css
"""

from __future__ import annotations

from .facts import Part
from .page import require_report, write_report

__all__ = ["Part", "require_report", "write_report"]
