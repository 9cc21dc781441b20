"""The command `gpubp`: train, predict, evaluate, and say what this machine can do.

One file a command; `app` joins them. What several need stands in `options` (what can be typed), `recipe` (names to
objects, and the defaults), `task` (what a network predicts), `files` and `screen`.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and end the process: 0 well, 1 failed, 2 a mistake of the user's, 130 interrupted."""
    try:
        import click  # noqa: F401
        import rich  # noqa: F401
    except ImportError as missing:
        print(f"gpubp: the command line needs {missing.name}: pip install 'gpubp[cli]'", file=sys.stderr)
        sys.exit(2)
    from .app import app, quiet_libraries

    quiet_libraries()
    app.main(prog_name="gpubp")
