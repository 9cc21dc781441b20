"""The command `gpubp`: train, predict, evaluate, and say what this machine can do.

One file a command; `app` finds it by its name. What several need stands in `command` (what all commands have in
common), `options` (what can be typed), `recipe` (names to objects, and the defaults), `task` (what a network predicts),
`files` and `screen`. `process` is about the process that all this runs in: signals, pipes, streams.
"""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and end the process. Nothing is imported before Ctrl-C is taken care of."""
    try:
        from .process import Process

        with Process() as process:
            process.code = _run()
        sys.exit(process.code)
    except KeyboardInterrupt:  # in the thousandth of a second before and after `Process`
        print("gpubp: interrupted", file=sys.stderr)
        sys.exit(130)


def _run() -> int:
    try:
        import click  # noqa: F401
        import rich  # noqa: F401
    except ImportError as missing:
        print(f"gpubp: the command line needs {missing.name}: pip install 'gpubp[cli]'", file=sys.stderr)
        return 2
    from .app import app, quiet_libraries

    quiet_libraries()
    return app.run(None, "gpubp")
