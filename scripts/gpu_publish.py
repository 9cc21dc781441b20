"""Write the tables of a GPU into the README and the docs, from what scripts/gpu_check.sh found.

    python scripts/gpu_publish.py FOLDER [FOLDER ...]           write files of results, tables and the plot
    python scripts/gpu_publish.py FOLDER --check                say what would change, and change nothing
    python scripts/gpu_publish.py FOLDER --with-failures        also where a check failed; the table says what

A folder has results.jsonl and logs.tar.gz, as scripts/gpu_check.sh leaves them. Parts that ran into folders of their
own are given together, in the order in which they ran: of a stage that ran twice the last counts. At the end the script
lists the places that say that something has not run on a GPU, and which of them the results disprove. It changes none
of them.

Exit codes: 0 written, or nothing to change; 1 --check found a difference; 2 refused, and nothing was written.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import gpu_claims  # noqa: E402
import gpu_documents  # noqa: E402
from gpu_collect import Collected, Refused, collect, failures, why_missing  # noqa: E402

from benchmarks import pages  # noqa: E402
from benchmarks.report import BEGIN, END, draw, put_into  # noqa: E402

RESULTS = "benchmarks/results"
SPEED = """\
### Speed on a GPU

Training steps per second on one GPU. As on the CPU, all libraries do the same work: they train the same network
from the same weights on the same rows, at the same precision, and the losses of their first steps agree. Each takes its
turns while the others wait, and the numbers are medians.

* **A** has small layers, **B** and **C** have large ones, and **D** is a convolutional network. TF32 and bfloat16 are
  coarser products, with 11 and 8 bits of each number.
* "torch CUDA graph" is PyTorch's step captured as a CUDA graph, and "torch.compile" has `mode="reduce-overhead"`. gpubp
  captures its steps as CUDA graphs by itself.
* The columns "to ..." give the speed of gpubp relative to another library: 2.00x is twice as fast, 0.50x half as fast.
* "products' share" is the time that the matrix products of a step take by themselves, as a part of gpubp's step. At
  100% a step would cost nothing beside its products.
"""
PARITY = """\
### The same numbers on CPU and GPU

The CPU and the GPU trained the same networks for a few steps in float32, with every layer, loss and optimizer that the
tests know. Both are compared with the CPU in float64, because in float32 a sum has other last digits if its numbers are
added in another order. The first table has the largest difference from float64 in outputs and gradients, relative to
the largest number of the array: 1e-07 means seven equal digits, and float32 has no more. Medians are over the cases;
the last columns are of the case in which the GPU is furthest from float64. It is a fault if the GPU is more than ten
times as far from float64 as the CPU, and by more than rounding explains (32 units of the last place).
"""
COMPARE = """\
## CPU and GPU

On a GPU `gpubp compare --backends cpu,cuda` printed the tables below, one for each network. Each step begins with the
same parameters on both.
"""
SECTIONS = {"gpu": SPEED, "parity": PARITY, "compare": COMPARE}
BEFORE = {"gpu": "### Speed on sequences", "parity": "### Speed on sequences", "compare": "## The same bits"}
HEADING = re.compile(r"^#{1,3} ", re.M)


def links(kind: str, stem: str) -> str:
    """Where all numbers of a table are."""
    above = "../" if "/" in pages.PAGES[kind] else ""
    lines = [f"All numbers are in [the JSON file]({above}{RESULTS}/{stem}.json)"]
    if kind == "gpu":
        lines += [f"and [the plot]({above}{RESULTS}/{stem}.png)", "[benchmarks](benchmarks) describes the method"]
        lines = [f"{lines[0]} {lines[1]}.", lines[2]]
    return "\n".join(lines) + "."


def with_table(page: str, kind: str, stem: str, table: str) -> str:
    """The page with the table: in the place of an older one of the same GPU, below those of other GPUs, or in a new
    section."""
    gpu = stem.removeprefix(kind)[len("-2026-12-01") :]
    older = re.compile(rf"\b{kind}-\d{{4}}-\d\d-\d\d{re.escape(gpu)}(?=\.(?:json|png)\b)")
    page = older.sub(stem, page)
    file = f"{RESULTS}/{stem}.json"
    if BEGIN.format(file) not in page:
        block = f"{links(kind, stem)}\n\n{BEGIN.format(file)}\n{END}\n\n"
        heading = SECTIONS[kind].partition("\n")[0]
        at = page.find(f"{heading}\n")
        if at < 0:
            block, at = f"{SECTIONS[kind]}\n{block}", _place(page, kind)
        else:  # below the tables of other GPUs
            following = HEADING.search(page, at + len(heading))
            at = following.start() if following else len(page)
        page = f"{page[:at]}{block}{page[at:]}"
    return put_into(page, file, table)


def _place(page: str, kind: str) -> int:
    """Where a new section begins."""
    at = page.find(f"{BEFORE[kind]}\n")
    if at < 0:
        raise Refused(f'{pages.PAGES[kind]} has no heading "{BEFORE[kind]}", above which the new section would stand')
    return at


def documents(found: Collected) -> dict[str, dict[str, Any]]:
    """kind -> document, of what the folders have results of."""
    made = {"gpu": gpu_documents.speed(found), "parity": gpu_documents.parity(found)}
    made["compare"] = gpu_documents.compare(found)
    return {kind: document for kind, document in made.items() if document}


def files_of(made: dict[str, dict[str, Any]], root: Path) -> dict[Path, str]:
    """Each file and page that belongs to the documents, and what should stand in it."""
    wanted: dict[Path, str] = {}
    for kind, document in made.items():
        stem = gpu_documents.named(document["machine"], kind)
        wanted[root / RESULTS / f"{stem}.json"] = json.dumps(document, indent=1) + "\n"
        page = root / pages.PAGES[kind]
        text = wanted.get(page) or page.read_text(encoding="utf-8")
        wanted[page] = with_table(text, kind, stem, pages.table(document))
    return wanted


def without_table(root: Path, wanted: dict[Path, str]) -> list[str]:
    """Files of results of a GPU that have no table any more, because a newer one has taken its place."""
    names = [path.relative_to(root).as_posix() for kind in SECTIONS for path in (root / RESULTS).glob(f"{kind}-*.json")]
    shown = "\n".join(
        wanted.get(root / name, "") or (root / name).read_text(encoding="utf-8") for name in set(pages.PAGES.values())
    )
    return sorted(name for name in names if BEGIN.format(name) not in shown)


def publish(folders: list[Path], root: Path, check: bool, with_failures: bool) -> int:
    """Write all, or compare it; returns the exit code. Raises Refused."""
    found = collect(folders)
    failed = failures(found)
    if failed and not with_failures:
        said = "\n".join(f"  {one['stage']}, {one['name']}: {one['problem'].partition(chr(10))[0]}" for one in failed)
        raise Refused(f"{len(failed)} checks failed; --with-failures puts them into the table:\n{said}")
    made = documents(found)
    if not made:
        raise Refused("there is nothing to publish: no benchmark, no comparison and no test has a result")
    wanted = files_of(made, root)
    changed = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    plot = root / RESULTS / f"{gpu_documents.named(made['gpu']['machine'], 'gpu')}.png" if "gpu" in made else None
    missing_plot = plot is not None and (not plot.exists() or plot.with_suffix(".json") in changed)
    for path in changed:
        print(f"{'differs' if check else 'written'}: {path.relative_to(root)}")
        if not check:
            path.write_text(wanted[path], encoding="utf-8")
    if missing_plot and plot is not None:
        if not check:
            draw(made["gpu"], plot)
        print(f"{'differs' if check else 'written'}: {plot.relative_to(root)}")
    if not changed and not missing_plot:
        print("nothing to change")
    for kind, stage in (("gpu", "benchmarks"), ("parity", "parity"), ("compare", "compare")):
        if kind not in made:
            why = why_missing(found, stage) or f"{stage} left no result"
            print(f"no table of {stage}: {why}")
    for name in without_table(root, wanted):
        print(f"{name} has no table any more: remove it, with its plot")
    print("\n".join(["", *gpu_claims.report(found, root)]))
    return 1 if check and (changed or missing_plot) else 0


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Write the tables of a GPU into the README and the docs.")
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="as scripts/gpu_check.sh leaves it")
    parser.add_argument("--check", action="store_true", help="only say what would change; exit code 1 if anything")
    parser.add_argument("--with-failures", action="store_true", help="also if a check failed; the table says which")
    parser.add_argument("--into", type=Path, default=ROOT, metavar="FOLDER", help="a checkout (default: this one)")
    asked = parser.parse_args(arguments)
    try:
        return publish(asked.folders, asked.into.resolve(), asked.check, asked.with_failures)
    except Refused as reason:
        print(f"gpu_publish.py: {reason}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
