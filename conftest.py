"""Examples in docstrings are tested where they lie; those whose library is missing are left out, and it is said."""

import importlib.util

NEEDS = {
    "gpubp/estimators": "sklearn",
    "gpubp/cli": "click",
    "gpubp/tables": "pyarrow",
    "gpubp/backends/cpu/native/interpreter.py": "numba",
    "gpubp/backends/cpu/pointers.py": "numba",
}

collect_ignore_glob = ["tests/*conftest.py"]  # has no examples, and several modules of this name can't be imported
collect_ignore = [folder for folder, library in NEEDS.items() if importlib.util.find_spec(library) is None]


def pytest_report_header() -> list[str]:
    """What is left out."""
    return [f"the examples of {folder} are left out: {NEEDS[folder]} is not installed" for folder in collect_ignore]
