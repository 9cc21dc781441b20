"""The benchmarks' numbers: summaries, the tables of the terminal and the README, and the picture."""

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # benchmarks/ is no part of the installed package

from benchmarks import pages, report, statistics  # noqa: E402
from benchmarks.__main__ import main  # noqa: E402


class TestStatistics:
    FOUND = {
        "text": "text", "flops": 2e9, "bytes": 1e6, "parameters": 10, "precision": "float32",
        "contenders": {
            "gpubp": {"version": "1", "seconds": [0.02, 0.04, 0.02], "memory": 2**20, "others": [0.0, 0.5, 0.0]},
            "torch": {"version": "2", "seconds": [0.06, 0.06, 0.08], "memory": 2**21, "others": [0.0, 0.0, None]},
            "jax": {"version": "3", "seconds": [0.03, 0.02, 0.01], "memory": None},
        },
    }  # fmt: skip
    FLOOR = {"gflops": 200.0, "gbytes": 20.0}
    RESULTS = {
        "kind": "cpu", "floor": FLOOR, "workloads": {"W1": FOUND},
        "skipped": {"W1": {"keras": "keras is not installed"}},
        "machine": {
            "processor": "a processor", "cores": 2, "threads": 2, "python": "3.11", "versions": {"gpubp": "1"},
            "date": "2026-01-01",
        },
    }  # fmt: skip

    def test_a_summary_by_hand(self) -> None:
        rows = statistics.summary(self.FOUND, self.FLOOR)
        ours = rows["gpubp"]
        assert (ours["median"], ours["min"], ours["max"], ours["rate"]) == (0.02, 0.02, 0.04, 50.0)
        assert ours["to_torch"] == pytest.approx(3.0)  # of 3, 1.5 and 4
        assert (ours["best"], ours["to_best"]) == ("jax", pytest.approx(0.5))  # of 1.5, 0.5 and 0.5
        assert ours["share"] == pytest.approx(0.5)  # 10 ms of 20
        assert rows["jax"]["best"] == "torch"

    def test_memory_bandwidth_can_limit_the_step_time(self) -> None:
        assert statistics.floor_seconds(1.0, 40e9, self.FLOOR) == 2.0

    def test_without_torch_and_floor(self) -> None:
        alone = self.FOUND | {"contenders": {"gpubp": self.FOUND["contenders"]["gpubp"]}}
        row = statistics.summary(alone, {})["gpubp"]
        assert (row["to_torch"], row["to_best"], row["share"]) == (None, None, None)
        assert "–" in report.terminal(self.RESULTS | {"floor": {}, "workloads": {"W1": alone}})

    def test_the_terminals_table(self) -> None:
        text = report.terminal(self.RESULTS)
        line = next(line for line in text.splitlines() if line.strip().startswith("gpubp"))
        assert line.split() == [
            "gpubp",
            "20",
            "ms",
            "20",
            "ms",
            "40",
            "ms",
            "50",
            "3.00x",
            "0.50x",
            "50%",
            "1",
            "MB",
            "1/3",
        ]
        assert "without Keras at W1: keras is not installed" in text

    def test_the_readmes_table(self) -> None:
        assert report.markdown(self.RESULTS).splitlines() == [
            "| steps a second | gpubp | torch eager | best torch | JAX jit | to torch eager | to the best peer |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
            "| W1 text | **50** | 16.7 | 16.7 | 50 | 3.00x | 0.50x |",
            "",
            "Measured on a processor, 2 cores, 2 threads, Python 3.11, gpubp 1; 2026-01-01. "
            "The kernels in use were not recorded.",
        ]

    def test_torch_compile_has_a_column_beside_the_best_torch(self) -> None:
        slower = self.FOUND["contenders"]["torch"] | {"seconds": [0.1, 0.1, 0.1]}
        found = self.FOUND | {"contenders": self.FOUND["contenders"] | {"torch-compile": slower}}
        heads, row = report.table_of(self.RESULTS | {"workloads": {"W1": found}})
        shown = dict(zip(heads, row, strict=True))
        assert [shown[head] for head in ("torch eager", "torch.compile", "best torch")] == ["16.7", "10", "16.7"]

    def test_the_footnote_has_the_kernels_and_the_processor(self) -> None:
        ours = {"of": "NumPy", "name": "OpenBLAS", "version": "0.3", "kernel": "Zen", "threads": 2}
        mkl = {"of": "PyTorch", "name": "MKL", "version": "2024.2", "kernel": "", "threads": 2}
        given = self.FOUND["contenders"]
        taken = {"gpubp": given["gpubp"] | {"kernels": [ours]}, "torch": given["torch"] | {"kernels": [mkl]}}
        found = self.RESULTS | {
            "workloads": {name: self.FOUND | {"contenders": taken} for name in ("W1", "W2")},
            "machine": self.RESULTS["machine"] | {"family": "26", "model": "2", "taken_out": {"MKL_CBWR": "AVX2"}},
        }
        assert report.footnote(found) == (
            "a processor (family 26, model 2), 2 cores, 2 threads, Python 3.11, gpubp 1; 2026-01-01. Kernels: NumPy's "
            "OpenBLAS 0.3: Zen; PyTorch's MKL 2024.2. Taken out of the environment: MKL_CBWR=AVX2."
        )
        assert report.markdown(found).endswith(f"Measured on {report.footnote(found)}")
        assert report.terminal(found).startswith(report.footnote(found))
        assert "ernels" not in report.footnote(found | {"kind": "gpu"})
        alone = found | {"machine": found["machine"] | {"threads": 1}}
        assert ", 2 cores, 1 thread, Python" in report.footnote(alone)

    def test_the_table_is_written_between_its_markers(self, tmp_path: Path) -> None:
        page, file = tmp_path / "README.md", tmp_path / "results" / "cpu.json"
        file.parent.mkdir()
        file.write_text(json.dumps(self.RESULTS))
        page.write_text("a\n<!-- benchmarks: results/cpu.json -->\nold\n<!-- /benchmarks -->\nb\n")
        for _ in range(2):
            assert main(["table", str(file), "--readme", str(page)]) == 0
            assert page.read_text() == (
                f"a\n<!-- benchmarks: results/cpu.json -->\n{report.markdown(self.RESULTS)}\n<!-- /benchmarks -->\nb\n"
            )

    def test_a_page_can_hold_several_tables(self, tmp_path: Path) -> None:
        page, other = tmp_path / "README.md", self.RESULTS | {"workloads": {"S1": self.FOUND}}
        parts = [f"<!-- benchmarks: {name}.json -->\n{{}}\n<!-- /benchmarks -->\n" for name in ("cpu", "sequences")]
        page.write_text("between\n".join(parts).format("old", "old"))
        for name, results in (("sequences", other), ("cpu", self.RESULTS)):
            (tmp_path / f"{name}.json").write_text(json.dumps(results))
            assert main(["table", str(tmp_path / f"{name}.json"), "--readme", str(page)]) == 0
        tables = report.markdown(self.RESULTS), report.markdown(other)
        assert tables[0] != tables[1]
        assert page.read_text() == "between\n".join(parts).format(*tables)

    def test_a_page_without_markers_stays_as_it_is(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        page, file = tmp_path / "README.md", tmp_path / "cpu.json"
        file.write_text(json.dumps(self.RESULTS))
        page.write_text("nothing")
        assert main(["table", str(file), "--readme", str(page)]) == 2
        assert "<!-- benchmarks: cpu.json -->" in capsys.readouterr().err
        assert page.read_text() == "nothing"

    def test_results_of_another_kind(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "scaling.json").write_text('{"kind": "scaling"}')
        assert main(["table", str(tmp_path / "scaling.json")]) == 2
        assert 'holds results of "scaling", and tables are of "cpu", "gpu"' in capsys.readouterr().err

    def test_the_picture(self, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        report.draw(self.RESULTS, tmp_path / "speed.png")
        assert (tmp_path / "speed.png").stat().st_size > 5000


def test_the_pages_show_what_was_measured() -> None:
    """Each table in a page is that of the JSON file it names, and each file of results has its table in its page."""
    measured: dict[str, list[str]] = {name: [] for name in pages.PAGES.values()}
    for path in sorted((ROOT / "benchmarks" / "results").glob("*.json")):
        kind = json.loads(path.read_text(encoding="utf-8"))["kind"]
        if kind in pages.PAGES:
            measured[pages.PAGES[kind]].append(path.relative_to(ROOT).as_posix())
    for name, files in measured.items():
        page = (ROOT / name).read_text(encoding="utf-8")
        assert sorted(re.findall(r"<!-- benchmarks: (\S+) -->", page)) == files
        for file in files:
            results = json.loads((ROOT / file).read_text(encoding="utf-8"))
            assert report.put_into(page, file, pages.table(results)) == page, f"python -m benchmarks table {file}"
