"""The command line of the benchmarks: cpu, gpu, scaling, table."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .contenders import CONTENDERS
from .harness import Settings
from .machine import gpu
from .pages import PAGES, marked
from .pages import table as table_of
from .report import draw, put_into, terminal
from .workloads import CPU, GPU

ROOT = Path(__file__).parents[1]


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m benchmarks", description="gpubp timed beside its peers.")
    commands = top.add_subparsers(dest="command", required=True)

    cpu = commands.add_parser("cpu", help="training steps on the CPU")
    cpu.add_argument("--quick", action="store_true", help="few short turns: does everything run?")
    cpu.add_argument("--workloads", type=_names(CPU), default=list(CPU), metavar="W1,W2", help="default: all")
    cpu.add_argument("--contenders", type=_names(CONTENDERS), default=[], metavar="NAME,...", help="default: installed")
    cpu.add_argument("--rounds", type=int, default=9, help="turns of each contender (default 9)")
    cpu.add_argument("--threads", type=int, default=2, help="of every contender (default 2)")
    cpu.add_argument(
        "--patience", type=float, default=60.0, metavar="S", help="a workload may wait for a quiet machine"
    )
    cpu.add_argument("--no-check", action="store_true", help="don't compare the contenders' losses first")

    on_gpu = commands.add_parser("gpu", help="training steps on a GPU")
    on_gpu.add_argument("--workloads", type=_names(GPU), default=list(GPU), metavar="A,B", help="default: all")
    on_gpu.add_argument(
        "--contenders", type=_names(CONTENDERS), default=[], metavar="NAME,...", help="default: installed"
    )
    on_gpu.add_argument("--rounds", type=int, default=5, help="turns of each contender (default 5)")
    on_gpu.add_argument("--limit", type=float, default=200.0, metavar="S", help="for everything (default 200)")

    scaling = commands.add_parser("scaling", help="width, depth, batch, memory; time to accuracy; import and size")
    scaling.add_argument("--quick", action="store_true", help="few points, short turns")
    scaling.add_argument(
        "--parts", type=_names(("steps", "accuracy", "imports")), default=["steps", "accuracy", "imports"]
    )
    scaling.add_argument("--data", metavar="FOLDER", help="where MNIST's files lie; else $GPUBP_MNIST")
    scaling.add_argument("--threads", type=int, default=2)
    for command in (cpu, on_gpu, scaling):
        command.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured")
        command.add_argument("--plot", type=Path, metavar="FILE", help="draw it (matplotlib)")

    table = commands.add_parser("table", help="put the table of a JSON file into its page, mostly the README")
    table.add_argument("results", type=Path, metavar="results.json")
    table.add_argument("--readme", type=Path, metavar="FILE", help="another page")
    table.add_argument("--print", action="store_true", help="only print it")
    return top


def _names(known: Any) -> Any:
    def names(text: str) -> list[str]:
        found = [name.strip() for name in text.split(",") if name.strip()]
        strange = [name for name in found if name not in known]
        if strange or not found:
            raise argparse.ArgumentTypeError(f"{', '.join(strange) or 'nothing'} is none of {', '.join(known)}")
        return found

    return names


def main(arguments: Sequence[str] | None = None) -> int:
    asked = parser().parse_args(arguments)
    if asked.command == "table":
        return _table(asked)
    for path in (asked.json, asked.plot):
        if path is not None and not path.resolve().parent.is_dir():
            print(f"benchmarks: there is no folder {path.resolve().parent} to write {path.name} into", file=sys.stderr)
            return 2
    if asked.command == "cpu":
        from .cpu import run

        settings = Settings(asked.rounds, 0.4, asked.threads, patience=asked.patience)
        if asked.quick:
            settings = Settings(2, 0.05, asked.threads)
        results = run(asked.workloads, asked.contenders, settings, check=not asked.no_check)
    elif asked.command == "gpu":
        from .gpu import run as run_gpu

        if not gpu():
            print("benchmarks: nothing was measured, because nvidia-smi finds no GPU", file=sys.stderr)
            return 3
        results = run_gpu(
            asked.workloads,
            asked.contenders,
            asked.rounds,
            asked.limit,
            written=lambda found: _write(found, asked.json),
        )
    else:
        from .scaling import run as run_scaling

        results = run_scaling(asked.parts, asked.data, asked.threads, quick=asked.quick)
    return _show(results, asked)


def _show(results: dict[str, Any], asked: argparse.Namespace) -> int:
    _write(results, asked.json)
    if results["kind"] == "scaling":
        from .scaling import draw as draw_scaling
        from .scaling import terminal as scaling_terminal

        print(scaling_terminal(results))
        if asked.plot:
            draw_scaling(results, asked.plot)
        return 0
    print(terminal(results))
    if asked.plot and results["workloads"]:
        draw(results, asked.plot)
    return 0


def _write(results: dict[str, Any], file: Path | None) -> None:
    if file is not None:
        file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _table(asked: argparse.Namespace) -> int:
    try:
        results = json.loads(asked.results.read_text(encoding="utf-8"))
        table = table_of(results, asked.results)
        if asked.print:
            print(table)
            return 0
        page = (asked.readme or ROOT / PAGES[results["kind"]]).resolve()
        text = put_into(page.read_text(encoding="utf-8"), marked(asked.results.resolve(), page), table)
    except (OSError, ValueError) as problem:
        print(f"benchmarks: {problem}", file=sys.stderr)
        return 2
    page.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
