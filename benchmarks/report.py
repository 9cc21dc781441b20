"""Results as a table for the terminal, as a table for the README, and as a picture."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

from .contenders import CONTENDERS
from .kernels import named
from .quiet import QUIET
from .statistics import ratio, summary
from .workloads import GPU

__all__ = [
    "described", "draw", "first_words", "footnote", "lacking", "markdown", "put_into", "row", "table_of", "terminal",
]  # fmt: skip

BEGIN, END = "<!-- benchmarks: {} -->", "<!-- /benchmarks -->"
TORCH = ("torch", "torch-fused", "torch-compile", "torch-channels-last", "torch-graph", "torch-reduce-overhead")
COLUMNS = (("torch eager", TORCH[:1]), ("torch.compile", ("torch-compile",)), ("best torch", TORCH),
           ("JAX jit", ("jax",)), ("JAX scan", ("jax-scan",)), ("Keras", ("keras",)), ("scikit-learn", ("sklearn",)),
           ("Thinc", ("thinc",)))  # fmt: skip
GPU_PEERS = {"torch": "torch eager", "torch-graph": "torch CUDA graph", "torch-reduce-overhead": "torch.compile",
             "jax": "JAX jit"}  # fmt: skip
TO = ("torch", "torch-graph", "torch-reduce-overhead")  # peers to which gpubp's ratio has a column


def label(name: str) -> str:
    """The name of a contender in tables.

    >>> label("jax")
    'JAX jit'
    """
    return CONTENDERS[name].label if name in CONTENDERS else name


def terminal(results: Mapping[str, Any]) -> str:
    """The table for the terminal, a line for each contender."""
    lines = [footnote(results), _floor(results.get("floor", {}))]
    for name, found in results["workloads"].items():
        rows = summary(found, results.get("floor", {}))
        lines += ["", f"{name}: {found['text']}, {found['flops'] / 1e6:,.4g} million operations a step"]
        heads = ("time a step", 12), ("min", 10), ("max", 10), ("steps/s", 10), ("to torch", 9), ("to best", 9)
        heads += ("floor", 7), ("memory", 9), ("busy", 6)
        lines.append(f"  {'':<32}" + "".join(f"{head:>{width}}" for head, width in heads))
        for who, row in sorted(rows.items(), key=lambda item: item[1]["median"]):
            others = [o or 0.0 for o in found["contenders"][who].get("others", ())]
            disturbed = sum(o > QUIET for o in others)
            lines.append(
                f"  {label(who):<32}{_time(row['median']):>12}{_time(row['min']):>10}{_time(row['max']):>10}"
                f"{_rate(row['rate']):>10}{_times(row['to_torch']):>9}{_times(row['to_best']):>9}{_percent(row['share']):>7}"
                f"{_bytes(row['memory']):>9}{f'{disturbed}/{len(others)}':>6}"
            )
    lost = ((w, name, why) for w, names in results["skipped"].items() for name, why in names.items())
    lines += ["", *(f"without {label(name)} at {w}: {why}" for w, name, why in lost)]
    lines.append('"to best" is against the best peer; "busy" says in how many turns others used the machine as well.')
    return "\n".join(lines)


def footnote(results: Mapping[str, Any]) -> str:
    """The machine, its libraries, and on a CPU the kernels in use."""
    said = described(results["machine"])
    return f"{said}. {_kernels(results)}" if results["kind"] != "gpu" else f"{said}."


def described(machine: Mapping[str, Any]) -> str:
    """A machine in words: its GPU with driver and CUDA or its processor, cores, Python, libraries, and the date."""
    versions = ", ".join(f"{name} {v}" for name, v in machine["versions"].items())
    where = machine.get("gpu") or machine["processor"]
    if machine.get("gpu"):
        known = [(name, machine.get(key)) for name, key in (("driver", "driver"), ("CUDA", "cuda"))]
        about = ", ".join(f"{name} {v}" for name, v in [*known, ("cublasLt", machine.get("cublaslt"))] if v)
        where += f" ({about})" if about else ""
        where += f", on {machine['processor']}" if machine.get("processor") else ""
    elif "family" in machine:
        where += f" (family {machine['family']}, model {machine['model']})"
    where += f", {machine['cores']} cores"
    if machine.get("threads"):
        where += f", {machine['threads']} thread{'s' * (machine['threads'] != 1)}"
    return f"{where}, Python {machine['python']}, {versions}; {machine['date']}"


def _kernels(results: Mapping[str, Any]) -> str:
    """Which kernels were in use, by library."""
    races = [*results.get("workloads", {}).values(), *results.get("steps", ())]
    taken = [c for race in races for c in race["contenders"].values()] + list(results.get("accuracy", ()))
    kernels = named([kernel for one in taken for kernel in one.get("kernels", ())])
    if not kernels:
        return "The kernels in use were not recorded." if taken else "Nothing was trained."
    out = results["machine"].get("taken_out", {})
    without = f" Taken out of the environment: {', '.join(f'{n}={v}' for n, v in out.items())}." if out else ""
    return f"Kernels: {'; '.join(kernels)}.{without}"


def _floor(floor: Mapping[str, float]) -> str:
    if not floor:
        return "no floor was measured"
    return f"floor: matrix products at {floor['gflops']:.0f} GFLOP/s, memory at {floor['gbytes']:.1f} GB/s"


def table_of(results: Mapping[str, Any]) -> list[list[str]]:
    """Heads and rows of the README's table: steps a second of each workload, and gpubp's ratios."""
    if results["kind"] == "gpu":
        return _gpu_table(results)
    columns = [
        (head, names)
        for head, names in COLUMNS
        if any(n in w["contenders"] for w in results["workloads"].values() for n in names)
    ]
    own = [n for n in ("gpubp", "gpubp-fast") if any(n in w["contenders"] for w in results["workloads"].values())]
    heads = [*map(label, own), *(head for head, _ in columns), "to torch eager", "to the best peer"]
    rows = [["steps a second", *heads]]
    for name, found in results["workloads"].items():
        shown = summary(found, results.get("floor", {}))
        cells = []
        for _, names in columns:
            rates = [shown[n]["rate"] for n in names if n in shown]
            cells.append(_rate(max(rates)) if rates else "–")
        ours = [shown.get(n) for n in own]
        rates = [f"**{_rate(row['rate'])}**" if row else "–" for row in ours]
        to = [" / ".join(_times(row[key] if row else None) for row in ours) for key in ("to_torch", "to_best")]
        rows.append([f"{name} {found['text']}", *rates, *cells, *to])
    return rows


def _gpu_table(results: Mapping[str, Any]) -> list[list[str]]:
    """On a GPU: all workloads and all peers, measured or not."""
    ratios = [*(f"to {GPU_PEERS[name]}" for name in TO), "to the best peer", "products' share"]
    rows = [["steps a second", "gpubp", *GPU_PEERS.values(), *ratios]]
    for name in _gpu_workloads(results):
        found = results["workloads"].get(name, {"contenders": {}, "flops": 0.0, "bytes": 0.0})
        shown = summary(found, results.get("floor", {}))
        times = {who: one["seconds"] for who, one in found["contenders"].items()}
        ours = times.get("gpubp")
        cells = [_rate(shown[who]["rate"]) if who in shown else "–" for who in ("gpubp", *GPU_PEERS)]
        cells[0] = f"**{cells[0]}**" if ours else "–"
        cells += [_times(ratio(ours, times[who]) if ours and who in times else None) for who in TO]
        cells += [_times(shown["gpubp"]["to_best"]), _percent(shown["gpubp"]["share"])] if ours else ["–", "–"]
        text = found.get("text") or (GPU[name].text if name in GPU else "")
        rows.append([f"{name} {text}", *cells])
    return rows


def _gpu_workloads(results: Mapping[str, Any]) -> list[str]:
    known = dict.fromkeys([*GPU, *results["workloads"], *results["skipped"]])
    asked = {*results["workloads"], *results["skipped"]}
    return [name for name in known if name in asked]


def lacking(results: Mapping[str, Any]) -> list[str]:
    """Why numbers are missing in the table of a GPU, a sentence for each reason.

    >>> over = dict.fromkeys(["gpubp", *GPU_PEERS, "products"], "the time was over")
    >>> lacking({"kind": "gpu", "workloads": {}, "skipped": {"B": over, "C": over}})
    ['B, C: the time was over']
    """
    said: dict[tuple[str, str], list[str]] = {}
    for workload in _gpu_workloads(results):
        reasons = dict(results["skipped"].get(workload, {}))
        measured = results["workloads"].get(workload, {})
        for who in ("gpubp", *GPU_PEERS, "products"):
            there = who in measured.get("contenders", {}) or (who == "products" and measured.get("products"))
            if not there:
                reasons.setdefault(who, "it was not part of this run")
        nothing = {"gpubp", *GPU_PEERS} <= reasons.keys() and len(set(reasons.values())) == 1
        for who, why in {"": reasons["gpubp"]}.items() if nothing else reasons.items():
            said.setdefault((GPU_PEERS.get(who, who), first_words(why)), []).append(workload)
    together: dict[tuple[str, str], list[str]] = {}
    for (who, why), names in said.items():
        together.setdefault((", ".join(names), why), []).append(who)
    return [
        f"{', '.join(filter(None, who))}{' at ' * bool(who[0])}{names}: {why}" for (names, why), who in together.items()
    ]


def first_words(text: str, most: int = 160) -> str:
    """The first line of a text, without what Markdown takes for its own signs.

    >>> first_words("no <answer> | within 50 s.")
    'no &lt;answer> / within 50 s'
    """
    first = next((line.strip() for line in text.splitlines() if line.strip()), "no reason was given")
    first = first if len(first) <= most else f"{first[: most - 4]} ..."
    return first.removesuffix(".").replace("|", "/").replace("<", "&lt;")


def markdown(results: Mapping[str, Any]) -> str:
    """The README's table, with the machine under it, and on a GPU why numbers are missing."""
    heads, *rows = table_of(results)
    lines = [row(heads), row(["---", *["---:"] * (len(heads) - 1)]), *map(row, rows), ""]
    if results["kind"] == "gpu" and (missing := lacking(results)):
        lines += [f"Missing (–): {'; '.join(missing)}.", ""]
    return "\n".join([*lines, f"Measured on {footnote(results)}"])


def row(cells: list[str]) -> str:
    """A row of a table in Markdown.

    >>> row(["a", "b"])
    '| a | b |'
    """
    return f"| {' | '.join(cells)} |"


def put_into(page: str, file: str, table: str) -> str:
    """The page with the table between its markers, `<!-- benchmarks: FILE -->` and `<!-- /benchmarks -->`; ValueError
    where it has none.

    >>> put_into("a\\n<!-- benchmarks: f.json -->\\nold\\n<!-- /benchmarks -->\\nb", "f.json", "new")
    'a\\n<!-- benchmarks: f.json -->\\nnew\\n<!-- /benchmarks -->\\nb'
    """
    begin = BEGIN.format(file)
    before, found, rest = page.partition(f"{begin}\n")
    _, ended, after = rest.partition(END)
    if not (found and ended):
        raise ValueError(f"the page has no lines {begin} and {END}, between which the table would go")
    return f"{before}{begin}\n{table}\n{END}{after}"


def draw(results: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Steps a second relative to torch eager (to the slowest, without it), a panel a workload."""
    from matplotlib.figure import Figure

    workloads = results["workloads"]
    down = -(-len(workloads) // 4)
    across = -(-len(workloads) // down)
    figure = Figure(figsize=(4.2 * across, 3.0 * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).reshape(-1)
    for panel in panels[len(workloads) :]:
        panel.axis("off")
    for panel, (name, found) in zip(panels, workloads.items(), strict=False):
        rows = sorted(summary(found, results.get("floor", {})).items(), key=lambda item: -item[1]["median"])
        unit = next((r["median"] for n, r in rows if n == "torch"), rows[0][1]["median"] if rows else 1.0)
        for y, (who, row) in enumerate(rows):
            speed, colour = unit / row["median"], "tab:orange" if who.startswith("gpubp") else "tab:gray"
            reach = [[speed - unit / row["max"]], [unit / row["min"] - speed]]
            panel.barh(y, speed, xerr=reach, color=colour, ecolor="black")
        panel.set_yticks(range(len(rows)), [label(who) for who, _ in rows], fontsize=7)
        panel.set_title(fill(f"{name}: {found['text']}", 48), fontsize=7)
        panel.axvline(1.0, color="black", linewidth=0.5)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(axis="x", labelsize=7)
    where = f", on {results['machine']['gpu']}" if results["machine"].get("gpu") else ""
    figure.supxlabel(f"speed relative to torch eager{where}", fontsize=8)
    figure.savefig(Path(path), dpi=120)


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def _times(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}x" if value < 10 else f"{value:.1f}x"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f}%"


def _bytes(size: int | None) -> str:
    return "–" if size is None else f"{size / 2**20:.0f} MB"
