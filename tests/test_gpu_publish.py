"""scripts/gpu_publish.py: the tables it writes of made-up folders and of a dry run whose marks were taken out, what it
refuses."""

from __future__ import annotations

import doctest
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT)]

import gpu_benchmarks  # noqa: E402
import gpu_collect  # noqa: E402
import gpu_documents  # noqa: E402
import gpu_machine  # noqa: E402
import gpu_parity  # noqa: E402
import gpu_publish  # noqa: E402
import gpu_stages  # noqa: E402
from gpu_results import PLAN, Results, Stage  # noqa: E402

import gpu_folder  # noqa: E402
from benchmarks import pages, parity  # noqa: E402
from benchmarks.__main__ import main as benchmarks  # noqa: E402
from gpu_pages import STEM, between, cells, copy_pages, publish, state  # noqa: E402

pytest.importorskip("matplotlib")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return copy_pages(tmp_path / "checkout")


# -- what is written --------------------------------------------------------------------------------------------------


def test_the_tables_are_written_once(checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = state(checkout)
    folder = gpu_folder.write(tmp_path / "made")
    assert publish(checkout, folder) == 0
    after = state(checkout)
    new = {
        f"benchmarks/results/{name}"
        for name in (f"gpu-{STEM}.png", *(f"{k}-{STEM}.json" for k in gpu_publish.SECTIONS))
    }
    assert after.keys() - before.keys() == new
    assert {name for name in before if before[name] != after[name]} == {"README.md", "docs/comparing-backends.md"}
    assert len(after[f"benchmarks/results/gpu-{STEM}.png"]) > 10_000
    said = capsys.readouterr().out
    assert "nothing to change" not in said and f"written: benchmarks/results/gpu-{STEM}.png" in said
    assert publish(checkout, folder) == publish(checkout, folder, "--check") == 0
    assert state(checkout) == after and capsys.readouterr().out.count("nothing to change") == 2
    page = after["README.md"].decode()
    heads = re.findall(r"^###? .*", page, re.M)
    at = heads.index("## Speed")
    assert heads[at + 1 : at + 4] == [
        "### Speed on a GPU",
        "### The same numbers on CPU and GPU",
        "### Speed on sequences",
    ]
    for kind in gpu_publish.SECTIONS:  # and the command that makes a single table finds it as it is
        assert benchmarks(["table", str(checkout / f"benchmarks/results/{kind}-{STEM}.json"), "--readme",
                           str(checkout / pages.PAGES[kind])]) == 0  # fmt: skip
    assert state(checkout) == after


def test_the_numbers_in_the_tables(checkout: Path, tmp_path: Path) -> None:
    assert publish(checkout, gpu_folder.write(tmp_path / "made")) == 0
    page = (checkout / "README.md").read_text(encoding="utf-8")
    speed = between(page, f"gpu-{STEM}")
    heads, a = (
        cells(speed, "steps a second"),
        cells(speed, "A "),
    )  # gpubp takes 4 x 20 µs x 1.05, the graph 6, compile 5
    shown = dict(zip(heads, a, strict=True))
    assert shown["gpubp"] == "**11,905**" and shown["torch CUDA graph"] == "7,937" and shown["JAX jit"] == "5,952"
    assert [shown[f"to {name}"] for name in ("torch eager", "torch CUDA graph", "torch.compile", "the best peer")] == [
        "5.00x", "1.50x", "1.25x", "1.25x",
    ]  # fmt: skip
    assert shown["products' share"] == "60%"  # 2.5 of 4 x 1.05
    rows = [line.split()[1] for line in speed.splitlines() if line.startswith("| ")][2:]
    assert rows == ["A", "B", "B-tf32", "C", "D"] and "Missing" not in speed
    machine = "NVIDIA H000 (driver 999.99, CUDA 13.0, cublasLt 13.1.0.3), on a processor, 16 cores"
    assert f"Measured on {machine}" in speed and "cupy-cuda13x 14.2.0; 2031-01-02." in speed
    both = between(page, f"parity-{STEM}")
    layers = cells(both, "layers")
    assert layers[1:3] == [str(len(gpu_folder.LAYERS)), "0"]
    size = 1 + (len(gpu_folder.LAYERS) + len(gpu_folder.LOSSES) + len(gpu_folder.OPTIMIZERS) + 2) / 100  # of the last
    furthest = [f"{3e-7 * size:.1e}", f"{2e-7 * size:.1e}", "cnn: outputs of layer 3"]
    assert cells(both, "networks")[1:3] == ["3", "0"] and cells(both, "networks")[5:] == furthest
    assert cells(both, "exact numerics: the hashes")[1] == "5 of 5 networks"
    assert cells(both, "training: mlp")[1] == "accuracy 98.11%, CPU 98.09%, after 4 epochs of mnist"
    bits = "rows and all that is drawn (2 arrays) have the CPU's bits in 40 steps"
    assert cells(both, "training: mlp, bits")[1] == bits
    assert cells(both, "resume: after a kill")[1] == "the bits of a run that was not killed"
    assert cells(both, "memory")[1] == "–" and "memory was not run" in both
    assert cells(both, "NCCL")[1] == "–" and "messages: skipped: CuPy finds no NCCL" in both
    assert "Failed" not in both and f"Compared on {machine}" in both
    compared = between((checkout / "docs/comparing-backends.md").read_text(encoding="utf-8"), f"compare-{STEM}")
    assert "\ndigits:\n\n    cuda against cpu: 20 steps" in compared and machine in compared


def test_check_finds_a_number_that_was_changed(
    checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, before = gpu_folder.write(tmp_path / "made"), state(checkout)
    assert publish(checkout, folder, "--check") == 1
    assert state(checkout) == before and "differs: README.md" in capsys.readouterr().out
    assert publish(checkout, folder) == 0
    page = checkout / "README.md"
    page.write_text(page.read_text(encoding="utf-8").replace("**11,905**", "**21,905**"), encoding="utf-8")
    capsys.readouterr()
    assert publish(checkout, folder, "--check") == 1
    assert [line for line in capsys.readouterr().out.splitlines() if "differs" in line] == ["differs: README.md"]


def test_a_newer_run_takes_the_place_and_another_gpu_stands_below(
    checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert publish(checkout, gpu_folder.write(tmp_path / "old")) == 0
    monkeypatch.setattr(gpu_folder, "DATE", "2031-05-06")
    assert publish(checkout, gpu_folder.write(tmp_path / "new")) == 0
    said, page = capsys.readouterr().out, (checkout / "README.md").read_text(encoding="utf-8")
    for kind in gpu_publish.SECTIONS:
        assert f"benchmarks/results/{kind}-{STEM}.json has no table any more: remove it" in said
    assert gpu_folder.DATE in page and STEM not in page and page.count("### Speed on a GPU") == 1
    monkeypatch.setattr(gpu_folder, "NAME", "NVIDIA H000 NVL")
    assert publish(checkout, gpu_folder.write(tmp_path / "other")) == 0
    page = (checkout / "README.md").read_text(encoding="utf-8")
    names = re.findall(r"<!-- benchmarks: benchmarks/results/((?:gpu|parity)-\S+)\.json -->", page)
    assert names == [f"{kind}-2031-05-06-{gpu}" for kind in ("gpu", "parity") for gpu in ("h000", "h000-nvl")]
    assert page.count("### Speed on a GPU") == page.count("### The same numbers on CPU and GPU") == 1


# -- what is missing or failed ----------------------------------------------------------------------------------------


def fail(lines: Any, ends: Any, logs: Any) -> None:
    """Two cases, a hash, a test, a stage and a comparison."""
    del logs["compare-digits.json"]
    lines["compare"][0] |= {"ok": False, "problem": "no JSON"}
    case = next(line for line in lines["parity"] if line["name"] == "layer Dense")
    case |= {
        "ok": False,
        "faults": ['outputs of "0", Dense(3): 1.0e-03 from float64, the CPU 1.0e-07'],
        "problem": "far",
    }
    case["worst"] = {"layer": "0", "what": "outputs", "first": 1e-7, "other": 1e-3}
    broken = next(line for line in lines["parity"] if line["name"] == "loss " + str(gpu_folder.LOSSES[0]))
    broken.clear()
    broken |= {
        "name": "loss " + str(gpu_folder.LOSSES[0]),
        "ok": False,
        "problem": "RuntimeError: <illegal> access\nmore",
    }
    lines["exact"][1] |= {"ok": False, "problem": "NO HASH of docs/exact.md"}
    lines["tests-training"][-1] |= {"outcome": "failed", "problem": "one is not two"}
    ends["tests-training"] |= {"went": "failed", "code": 1}
    ends["smoke-D"] |= {"went": "failed", "code": -11}


def test_failures_are_refused_or_stand_in_the_table(
    checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, before = gpu_folder.write(tmp_path / "made", change=fail), state(checkout)
    assert publish(checkout, folder) == 2 and state(checkout) == before
    said = capsys.readouterr()
    assert not said.out and "6 checks failed; --with-failures puts them into the table" in said.err
    assert "smoke-D, the whole stage: it ended with exit code -11" in said.err
    assert publish(checkout, folder, "--with-failures") == 0
    both = between((checkout / "README.md").read_text(encoding="utf-8"), f"parity-{STEM}")
    assert cells(both, "layers")[2] == "**1**" and cells(both, "layers")[5:] == [
        "1.0e-03",
        "1.0e-07",
        "Dense: outputs of layer 0",
    ]
    assert cells(both, "losses")[2] == "**1**" and cells(both, "losses")[1] == str(len(gpu_folder.LOSSES))
    assert cells(both, "exact numerics: the hashes")[1] == "**failed:** 4 of 5 networks, not cnn"
    assert cells(both, "tests of layers")[1].startswith("**failed:** ") and "1 failed" in both
    assert cells(both, "network D")[1] == "**failed:** 1 of 1 ok, and then exit code -11"
    assert both.count("\n* ") == 6 and "RuntimeError: &lt;illegal> access\n" in both
    assert cells(both, "`gpubp compare")[1] == "**failed:** 0 of 1 ok, not digits"
    compared = (checkout / "docs/comparing-backends.md").read_text(encoding="utf-8")
    assert "\ndigits, **with faults**:\n" in compared
    said = capsys.readouterr()
    assert "exact: the hashes of all networks FAILED (network cnn)" in said.out
    stays = said.out.partition("These have to stay:")[2]
    assert "CHANGELOG.md:" in stays and "The kernels for CUDA have not run on a GPU." in stays


def lack(lines: Any, ends: Any, logs: Any) -> None:
    """Contenders, workloads, cases and stages."""
    speed = logs["benchmarks.json"]
    del speed["workloads"]["A"]["contenders"]["jax"], speed["workloads"]["B"]["contenders"]["jax"]
    speed["skipped"]["A"]["jax"] = speed["skipped"]["B"]["jax"] = "no answer within 50 s"
    del speed["workloads"]["D"]["contenders"]["gpubp"]
    speed["skipped"]["D"] = {"gpubp": "its first losses differ by 1.0e+00: not the same work"}
    speed["workloads"]["D"]["products"] = []
    for name in ("C", "B-tf32"):
        del speed["workloads"][name], speed["skipped"][name]
    ends["benchmarks"] |= {"went": "timed out", "seconds": 215.2}
    lines["parity"] = [
        line for line in lines["parity"] if not line["name"].startswith("optimizer") and line["name"] != "cnn"
    ]
    ends["parity"] |= {"went": "timed out", "seconds": 85.0}
    ends["racecheck"] = {"went": "left out", "why": "compute-sanitizer is not installed"}
    lines["racecheck"] = []
    ends["compare"] = {"went": "not begun"}
    ends["smoke-A"] |= {"went": "timed out", "seconds": 40.0}
    lines["tests-training"] = lines["tests-training"][:11]


def test_missing_numbers_are_dashes_with_their_reasons(
    checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(checkout, gpu_folder.write(tmp_path / "made", change=lack)) == 0
    page = (checkout / "README.md").read_text(encoding="utf-8")
    speed, both = between(page, f"gpu-{STEM}"), between(page, f"parity-{STEM}")
    assert cells(speed, "A ")[5] == "–" and cells(speed, "A ")[9] == "1.25x"
    assert cells(speed, "D ")[1:] == ["–", "0.581", "1.94", "2.33", "1.45", "–", "–", "–", "–", "–"]
    assert set(cells(speed, "C 8 layers of 4096, batch 8192")[1:]) == {"–"}
    (reasons,) = (line for line in speed.splitlines() if line.startswith("Missing (–): "))
    assert reasons.startswith(
        "Missing (–): JAX jit at A, B: no answer within 50 s; B-tf32, C: benchmarks timed out after 215 s; "
    )
    assert (
        "gpubp at D: its first losses differ by 1.0e+00: not the same work; products at D: it was not part" in reasons
    )
    assert cells(both, "optimizers") == ["optimizers", f"– of {len(gpu_folder.OPTIMIZERS)}", *["–"] * 6]
    assert cells(both, "networks")[1] == "2 of 3"
    assert f"no result for 1 of the networks, {len(gpu_folder.OPTIMIZERS)} of the optimizers: parity timed out" in both
    assert "racecheck was left out: compute-sanitizer is not installed" in both and cells(both, "races in")[1] == "–"
    assert cells(both, "tests of layers")[1].endswith("did not run")
    assert (
        cells(both, "network A")[1] == "3 of 3 ok, and the rest did not run" and "smoke-A timed out after 40 s" in both
    )
    assert "compare was not begun, the run ended before it" in both
    assert "no table of compare: compare was not begun" in capsys.readouterr().out
    assert not (checkout / f"benchmarks/results/compare-{STEM}.json").exists()


def test_parts_in_folders_of_their_own(checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Together they are one run; a stage that ran again counts as it ran last."""
    whole = checkout.parent / "whole"
    shutil.copytree(checkout, whole)
    assert publish(whole, gpu_folder.write(tmp_path / "all", (*gpu_folder.FIRST, *gpu_folder.SECOND))) == 0
    first = gpu_folder.write(tmp_path / "first", gpu_folder.FIRST, fail_a_test)
    second = gpu_folder.write(tmp_path / "second", gpu_folder.SECOND)
    assert publish(checkout, first, second) == 2 and "tests-cublaslt, " in capsys.readouterr().err
    again = gpu_folder.write(tmp_path / "again", ("tests-cublaslt", "nan"), leave_out_nan)
    assert publish(checkout, first, second, again) == 0
    assert state(checkout) == state(whole)


def fail_a_test(lines: Any, ends: Any, logs: Any) -> None:
    lines["tests-cublaslt"][-1] |= {"outcome": "failed", "problem": "far"}
    ends["tests-cublaslt"] |= {"went": "failed", "code": 1}


def test_a_profile_is_no_check(checkout: Path, tmp_path: Path) -> None:
    folder = gpu_folder.write(tmp_path / "made")
    with open(folder / "results.jsonl", "a") as file:
        for name, more in (("A", {"ok": False, "problem": "refused"}), ("end", {"went": "failed", "code": 1})):
            file.write(json.dumps({"stage": "profile", "name": name, **more}) + "\n")
    assert publish(checkout, folder) == 0
    assert "profile" not in between((checkout / "README.md").read_text(encoding="utf-8"), f"parity-{STEM}")


def leave_out_nan(lines: Any, ends: Any, logs: Any) -> None:
    lines["nan"], ends["nan"] = [], {"went": "left out", "why": "the time was over"}


def test_two_runs_in_one_folder_are_both_read(checkout: Path, tmp_path: Path) -> None:
    folder = gpu_folder.write(tmp_path / "one", gpu_folder.FIRST)
    lines = (folder / "results.jsonl").read_text()
    gpu_folder.write(folder, gpu_folder.SECOND)
    (folder / "results.jsonl").write_text(lines + (folder / "results.jsonl").read_text())
    found = gpu_collect.collect([folder])
    assert list(found.parts) == [*gpu_folder.FIRST, *gpu_folder.SECOND]
    assert publish(checkout, folder) == 0


# -- a real run -------------------------------------------------------------------------------------------------------


def test_results_of_a_dry_run_whose_marks_were_taken_out(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rng: Any
) -> None:
    """The scripts' own files are read: lines, logs, and the benchmarks' document."""
    folder, logs = tmp_path / "dry", tmp_path / "logs"
    folder.mkdir()
    logs.mkdir()
    file = folder / "results.jsonl"
    Results(file, PLAN, True).add("plan", stages=["machine", "parity", "benchmarks"])
    monkeypatch.setattr(gpu_benchmarks, "IN_SMALL", gpu_benchmarks.IN_SMALL[:2])
    cases = [c for c in gpu_parity.cases(rng) if c.name in ("layer Dense", "layer Dropout", "optimizer Adam")]
    for name, run in (
        ("machine", gpu_machine.main),
        ("parity", lambda stage: [gpu_parity.compare(stage, c) for c in (next(gpu_parity.models(rng, True)), *cases)]),
        ("benchmarks", gpu_benchmarks.main),
    ):
        run(Stage(name, [str(file), str(logs), "--dry", "--name", name]))
        Results(file, name, True).add("end", went="ok", code=0, seconds=1)
    gpu_stages.keep(logs, folder)
    assert publish(checkout, folder) == 2 and "a dry run" in capsys.readouterr().err
    text = (folder / "results.jsonl").read_text().replace(', "dry": true', "").replace("a stand-in", "NVIDIA H000")
    (folder / "results.jsonl").write_text(text)
    speed = json.loads((logs / "benchmarks.json").read_text())
    speed["machine"]["gpu"] = f"{gpu_folder.NAME}, {gpu_folder.DRIVER}"
    (logs / "benchmarks.json").write_text(json.dumps(speed))
    gpu_stages.keep(logs, folder)
    assert publish(checkout, folder) == 0
    page = (checkout / "README.md").read_text(encoding="utf-8")
    day = speed["machine"]["date"]
    shown, both = between(page, f"gpu-{day}-h000"), between(page, f"parity-{day}-h000")
    assert re.fullmatch(r"\*\*[\d,.]+\*\*", cells(shown, "A 16-12-4")[1]) and set(cells(shown, "B-tf32")[1:]) == {"–"}
    assert "torch eager, torch CUDA graph, torch.compile, JAX jit, products at A, D: it was not part of" in shown
    assert cells(both, "networks")[1:3] == ["1 of 3", "0"]
    assert [cells(both, name)[1] for name in ("layers", "losses", "optimizers")] == [
        f"2 of {len(gpu_folder.LAYERS)}", f"– of {len(gpu_folder.LOSSES)}", f"1 of {len(gpu_folder.OPTIMIZERS)}",
    ]  # fmt: skip
    assert all(float(cells(both, name)[5]) < 1e-5 for name in ("networks", "layers", "optimizers"))
    assert "| in all 4 cases |" in both


@pytest.mark.parametrize("module", [gpu_collect, gpu_documents, gpu_publish, pages, parity], ids=lambda m: m.__name__)
def test_the_examples_of_the_docstrings(module: Any) -> None:
    assert doctest.testmod(module).failed == 0
