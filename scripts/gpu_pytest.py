"""A pytest plugin that writes the outcome of each test as a line of results at once: -p gpu_pytest

The outcome of a test is saved even if the process crashes afterwards.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from gpu_results import Results


class Lines:
    """The file of results, with the first words of failures."""

    def __init__(self) -> None:
        dry = bool(os.environ.get("GPU_CHECK_DRY"))
        self.results = Results(Path(os.environ["GPU_CHECK_RESULTS"]), os.environ["GPU_CHECK_STAGE"], dry)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Write a line for each test: of its call, or of the setup or teardown that failed or skipped."""
        if report.when != "call" and report.passed:
            return
        values: dict[str, Any] = {"outcome": report.outcome, "seconds": round(report.duration, 3)}
        if report.failed:
            values["problem"] = _said(report)
        elif report.skipped and isinstance(report.longrepr, tuple | list):
            values["why"] = str(report.longrepr[2])[:200]
        self.results.add(report.nodeid.rpartition("::")[2], **values)

    def pytest_collection_finish(self, session: Any) -> None:
        """Write how many tests there are."""
        if getattr(session, "items", None):
            self.results.add("collected", tests=len(session.items))

    def pytest_collectreport(self, report: Any) -> None:
        """Write a line for a file that can't be collected."""
        if report.failed:
            self.results.add(report.nodeid or "collection", outcome="failed", problem=str(report.longrepr)[-400:])


def _said(report: Any) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash is not None else str(report.longrepr)
    return "\n".join(line for line in text.splitlines() if line.strip())[:400]


def pytest_configure(config: Any) -> None:
    """Open the results in the main process, which gets the reports of all others."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Lines())
