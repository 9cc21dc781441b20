"""Docstrings are tested where they lie; those of the estimators only where scikit-learn is installed."""

import importlib.util

WITHOUT_SKLEARN = "scikit-learn is not installed: the examples of gpubp/estimators are left out"

collect_ignore = [] if importlib.util.find_spec("sklearn") else ["gpubp/estimators"]


def pytest_report_header() -> str:
    """Say what is left out."""
    return WITHOUT_SKLEARN if collect_ignore else ""
