"""Make the documents of benchmarks/results/ of what scripts/gpu_check.sh found: speed, parity, and `gpubp compare`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

import gpu_table
from gpu_collect import PROFILE, Collected, Line, Refused, document, failures, why_missing
from gpu_results import ROOT

from benchmarks.report import GPU_PEERS
from benchmarks.workloads import GPU

MODELS = ("mlp", "mlp-all", "cnn")  # the networks of gpu_parity.py
WHOLE = {  # stages that have one row in the table
    "smoke-A": "network A, a step as one CUDA graph, in float32, TF32 and bfloat16",
    "smoke-D": "network D, a step as one CUDA graph, in pieces of several sizes",
    "nan": "a NaN is noticed as on the CPU",
    "messages": "NCCL's messages as a part of a CUDA graph, on one GPU",
    "racecheck": "races in gpubp's kernels, by compute-sanitizer",
    "compare": "`gpubp compare --backends cpu,cuda`",
}
TESTS = {
    "tests-cublaslt": "tests of matrix products on the GPU",
    "tests-training": "tests of layers, losses, optimizers and training on the GPU",
}
BY_NAME = {  # tests that have a row of their own
    "test_a_step_is_one_graph_and_replays_exactly": "100 steps by a CUDA graph, and call by call: the same bits",
    "test_two_runs_have_the_same_bits": "two trainings from one seed: the same bits",
    "test_predictions_are_bitwise_independent_of_the_batch": "predictions in batches of other sizes: the same bits",
}
MOST_ROWS = 8  # of a stage; with more it has one
ELSEWHERE = ("machine", "benchmarks", "parity", "exact", PROFILE)  # stages that have no line of their own
EXPECTED = ("exact", "smoke-A", "smoke-D", "nan", "training", "resume", "memory", "compare", "messages", "racecheck")


def machine_of(found: Collected, date: str) -> dict[str, Any]:
    """The machine as benchmarks/machine.py describes it, with GPU, driver, CUDA and cublasLt."""
    told = found.machine_line()
    base = dict(speed_log(found).get("machine", {}))
    versions = dict(base.get("versions", {}))
    if not versions:
        names = ("gpubp", "numpy", "torch", "jax", "optax", "numba")
        versions = {name: told[name] for name in names if told.get(name, "missing") != "missing"}
    if "cupy" in told and not any(name.startswith("cupy") for name in versions):
        versions["cupy"] = told["cupy"]
    gpu = found.facts.get("GPU by CUDA") or found.facts.get("GPU", "")
    if not gpu:
        raise Refused("nothing in these folders says which GPU it was: the stage machine belongs to the part first")
    about = {"gpu": gpu, "driver": found.facts.get("driver", ""), "cuda": cuda_version(told.get("runtime's CUDA"))}
    about["cublaslt"] = str(told.get("cublasLt", ""))
    usual = {"processor": "", "cores": told.get("cores"), "python": found.facts.get("python", "")}
    usual |= {"system": told.get("platform", "")}
    return usual | base | about | {"versions": versions, "date": date or str(told.get("date", ""))}


def cuda_version(number: Any) -> str:
    """
    >>> cuda_version(13000), cuda_version(12090), cuda_version(None)
    ('13.0', '12.9', '')
    """
    return f"{number // 1000}.{number % 1000 // 10}" if isinstance(number, int) else ""


def named(machine: dict[str, Any], kind: str) -> str:
    """The stem of a file of results.

    >>> named({"gpu": "NVIDIA A100-SXM4-80GB", "date": "2026-12-01"}, "gpu")
    'gpu-2026-12-01-a100-sxm4-80gb'
    """
    gpu = re.sub(r"[^a-z0-9]+", "-", machine["gpu"].lower().removeprefix("nvidia ")).strip("-")
    return f"{kind}-{machine['date']}-{gpu}"


# -- speed ------------------------------------------------------------------------------------------------------------


def speed_log(found: Collected) -> dict[str, Any]:
    """The document that the benchmarks wrote, {} if there is none."""
    return document(found.logs("benchmarks", "benchmarks.json").get("benchmarks.json", ""))


def speed(found: Collected) -> dict[str, Any]:
    """The results of the benchmarks, with a reason for each workload that is missing; {} where nothing was measured."""
    results = speed_log(found)
    if not any(one.get("contenders") for one in results.get("workloads", {}).values()):
        return {}
    why = why_missing(found, "benchmarks") or "it was not part of this run"
    for name in GPU:
        if name not in results["workloads"] and name not in results["skipped"]:
            results["skipped"][name] = dict.fromkeys(["gpubp", *GPU_PEERS, "products"], why)
    date = str(results["machine"].get("date") or found.parts["benchmarks"].date)
    return results | {"machine": machine_of(found, date)}


# -- parity -----------------------------------------------------------------------------------------------------------


def parity(found: Collected) -> dict[str, Any]:
    """What was compared between CPU and GPU, what was tried and tested; {} where nothing of all that ran."""
    if not any(found.lines(stage) for stage in found.parts if stage not in ("machine", "benchmarks", PROFILE)):
        return {}
    stages = [*EXPECTED, *(stage for stage in found.parts if stage not in (*EXPECTED, *ELSEWHERE, *TESTS)), *TESTS]
    groups = groups_of(found.lines("parity"))
    missing = [why for stage in ("parity", *stages) if (why := why_missing(found, stage))]
    missing += [*incomplete(found, groups), *skipped(found)]
    date = next((found.parts[stage].date for stage in ("parity", *stages) if stage in found.parts), "")
    return {
        "kind": "parity", "machine": machine_of(found, date), "groups": groups,
        "checks": [*compared_bits(found), *(check for stage in stages for check in checks_of(found, stage))],
        "failures": failures(found), "missing": missing,
    }  # fmt: skip


def groups_of(lines: list[Line]) -> dict[str, Any]:
    """Networks, layers, losses and optimizers: how many were planned, and how far each case is from float64."""
    sys.path.insert(0, str(ROOT / "tests"))
    from cases import LAYERS, LOSSES, OPTIMIZERS

    groups: dict[str, Any] = {
        "networks": {"planned": len(MODELS), "cases": {}},
        "layers": {"planned": len(LAYERS), "cases": {}},
        "losses": {"planned": len(LOSSES), "cases": {}},
        "optimizers": {"planned": len(OPTIMIZERS), "cases": {}},
    }
    kinds = {"layer": "layers", "loss": "losses", "optimizer": "optimizers"}
    for line in lines:
        kind, _, rest = line["name"].partition(" ")
        group = kinds.get(kind) if rest else "networks" if line["name"] in MODELS else None
        if group and "ok" in line and not line["name"].endswith(", float64"):
            groups[group]["cases"][rest or kind] = case_of(line)
    return groups


def case_of(line: Line) -> dict[str, Any]:
    """A case: the place where the GPU is furthest from float64, the CPU there, and the faults."""
    faults = list(line.get("faults") or ([] if line["ok"] else [str(line.get("problem", "it failed"))]))
    case: dict[str, Any] = {"ok": line["ok"], "faults": faults}
    if worst := line.get("worst"):
        case |= {"cpu": worst["first"], "gpu": worst["other"], "layer": worst["layer"], "what": worst["what"]}
    return case


def incomplete(found: Collected, groups: dict[str, Any]) -> Iterator[str]:
    """Which cases of the parity have no result, and why as far as it is known."""
    if "parity" not in found.parts:
        return
    left_out = sum(int(line.get("left_out", 0)) for line in found.lines("parity"))
    without = {name: one["planned"] - len(one["cases"]) for name, one in groups.items()}
    words = [f"{count} of the {name}" for name, count in without.items() if count > 0]
    if words:
        why = "the time was over" if left_out else why_missing(found, "parity") or "no reason was recorded"
        yield f"no result for {', '.join(words)}: {why}"


def skipped(found: Collected) -> Iterator[str]:
    """What a stage says that it had to skip."""
    for stage, part in found.parts.items():
        yield from (f"{stage}: {line.get('shown', 'skipped')}" for line in part.lines if line.get("skipped"))


def compared_bits(found: Collected) -> Iterator[dict[str, Any]]:
    """Order and draws of all cases, and what was compared in float64."""
    lines = found.lines("parity")
    cases = [line for line in lines if "worst" in line]
    other = [line["name"] for line in cases if {"batches differ", "random draws differ"} & set(line["faults"])]
    yield check(
        "order of the batches, random masks and augmentation: the same bits",
        None if not cases else not other,
        f"other bits in {', '.join(other[:5])}" if other else f"in all {len(cases)} cases",
    )
    wide = [line for line in lines if line["name"].endswith(", float64") and "ok" in line]
    apart = max((float(line.get("apart", 0.0)) for line in wide), default=0.0)
    bad = [line["name"] for line in wide if not line["ok"]]
    yield check(
        "in float64 on both, within 1e-12",
        None if not wide else not bad,
        f"faults in {', '.join(bad[:5])}" if bad else f"{len(wide)} cases; outputs {apart:.0e} apart at most",
    )


def checks_of(found: Collected, stage: str) -> list[dict[str, Any]]:
    """The rows of a stage in the table."""
    lines = [line for line in found.lines(stage) if "ok" in line or "outcome" in line]
    if stage in TESTS or stage.startswith("tests"):
        mine = [line for line in lines if line["name"] in BY_NAME and line["outcome"] != "skipped"]
        rows = [check(BY_NAME[one["name"]], one["outcome"] == "passed", one.get("problem", "passed")) for one in mine]
        return [*rows, tests_of(found, stage)]
    if stage == "exact":
        return exact_of(lines)
    if stage in WHOLE or not lines or len(lines) > MOST_ROWS:
        bad = [line["name"] for line in lines if gpu_table.failed(line)]
        done = [line for line in lines if not line.get("skipped")]
        said = f"{len(lines) - len(bad)} of {len(lines)} ok" + (f", not {', '.join(bad[:5])}" if bad else "")
        told = [str(line["summary"]) for line in lines if "summary" in line]
        said = told[-1] if told and not bad else said
        if not done:
            return [check(WHOLE.get(stage, stage), None, "")]
        return [check(WHOLE.get(stage, stage), well(found, stage, bad), said + ending(found, stage))]
    return [check(f"{stage}: {line['name']}", bool(line["ok"]), shown_of(line)) for line in lines]


def well(found: Collected, stage: str, bad: list[str]) -> bool:
    """Whether nothing failed in a stage, nor the stage itself."""
    return not bad and found.parts[stage].end["went"] != "failed"


def ending(found: Collected, stage: str) -> str:
    """What has to be said of a stage that did not run to its end, or crashed."""
    end = found.parts[stage].end
    if end["went"] == "failed":
        return "" if any(map(gpu_table.failed, found.lines(stage))) else f", and then exit code {end.get('code')}"
    return ", and the rest did not run" if why_missing(found, stage) else ""


def shown_of(line: Line) -> str:
    """What a line of results shows; of a training its accuracies, or the arrays that were compared."""
    if line["ok"] and {"gpu", "cpu", "data", "epochs"} <= line.keys():
        epochs = line.get("compared_after", line["epochs"])  # fewer, if the CPU had no time for all
        return f"accuracy {line['gpu']:.2%}, CPU {line['cpu']:.2%}, after {epochs} epochs of {line['data']}"
    if line["ok"] and {"arrays", "steps"} <= line.keys():
        return f"rows and all that is drawn ({len(line['arrays'])} arrays) have the CPU's bits in {line['steps']} steps"
    said = line.get("shown") or line.get("summary") or ""
    return str(said if line["ok"] else line.get("problem") or said)


def exact_of(lines: list[Line]) -> list[dict[str, Any]]:
    """Hashes of networks and bits of products in exact numerics."""
    rows = []
    for what, start, name in (
        ("exact numerics: the hashes of [docs/exact.md](docs/exact.md)", "network ", "networks"),
        ("exact numerics: products with the CPU's bits", "bits of ", "products"),
    ):
        mine = [line for line in lines if line["name"].startswith(start)]
        bad = [line["name"].removeprefix(start) for line in mine if not line["ok"]]
        said = f"{len(mine) - len(bad)} of {len(mine)} {name}" + (f", not {', '.join(bad)}" if bad else "")
        rows.append(check(what, None if not mine else not bad, said))
    return rows


def tests_of(found: Collected, stage: str) -> dict[str, Any]:
    """How many tests passed, failed, were skipped, and did not run."""
    lines = found.lines(stage)
    outcomes = [line["outcome"] for line in lines if "outcome" in line]
    planned = max((int(line["tests"]) for line in lines if line["name"] == "collected"), default=0)
    said = ", ".join(f"{outcomes.count(kind)} {kind}" for kind in ("passed", "failed", "skipped"))
    said += f", {planned - len(outcomes)} did not run" if planned > len(outcomes) else ""
    ok = well(found, stage, [outcome for outcome in outcomes if outcome == "failed"]) if outcomes else None
    return check(TESTS.get(stage, stage), ok, said + (ending(found, stage) if ok is False else ""))


def check(what: str, ok: bool | None, shown: str) -> dict[str, Any]:
    """A row of the table: what must be so, whether it is (None: not known), and what was seen."""
    return {"what": what, "ok": ok, "shown": shown}


# -- gpubp compare ----------------------------------------------------------------------------------------------------


def compare(found: Collected) -> dict[str, Any]:
    """What `gpubp compare` printed on each network; {} if it did not run."""
    logs = found.logs("compare", "compare-")
    networks = {}
    for network in dict.fromkeys(line["name"] for line in found.lines("compare")):
        text = logs.get(f"compare-{network}.txt", "").strip("\n")
        if text:
            told = document(logs.get(f"compare-{network}.json", ""))
            networks[network] = {"ok": bool(told.get("ok")), "text": text}
    if not networks:
        return {}
    return {
        "kind": "compare", "machine": machine_of(found, found.parts["compare"].date), "networks": networks,
    }  # fmt: skip
