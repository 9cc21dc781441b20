"""The command line `gpubp`.

`commands/` holds one file for each command; `app` imports it by its name, and no command imports another. The files
here are what commands share:

    process, app, command, names      the process, the group of commands, and what every command has
    together                          several processes that run one command, as mpiexec starts them
    arguments, options, *_options     arguments and options, and what belongs to one of them
    config_file, json_output          --config and --save-config, --json
    console, progress                 what is printed
    files, large_data, run_folder     what is read and written
    defaults, task, trainer           from options and data to a task, a network and its trainer
    onnx_check, onnx_rows, random_rows, table_cells
                                      the comparison of an ONNX file with its network
    train_job, evaluation, devices    one run of `gpubp train`; the numbers of an evaluation; the device in words
    gpu_smoke                         the stages of `gpubp doctor --gpu-smoke`
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
