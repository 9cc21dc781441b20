"""The command `gpubp`: train, predict, evaluate, and say what this machine can do."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line. Ends the process: 0 well, 1 failed, 2 a mistake of the user's, 130 interrupted."""
    try:
        import click
        import rich  # noqa: F401
    except ImportError as missing:
        print(f"gpubp: the command line needs {missing.name}: pip install 'gpubp[cli]'", file=sys.stderr)
        sys.exit(2)
    from ..errors import GpubpError
    from .app import app

    try:
        code = app.main(prog_name="gpubp", standalone_mode=False)
    except click.ClickException as mistake:
        mistake.show()
        sys.exit(mistake.exit_code)
    except (click.exceptions.Abort, KeyboardInterrupt):
        print("gpubp: interrupted", file=sys.stderr)
        sys.exit(130)
    except GpubpError as mistake:
        print(f"gpubp: {mistake}", file=sys.stderr)
        sys.exit(2)
    except OSError as problem:
        print(f"gpubp: {problem}", file=sys.stderr)
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)
