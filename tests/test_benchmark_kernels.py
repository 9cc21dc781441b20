"""The benchmarks say which kernels each library took, and no variable of the environment forces any on them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gpubp.backends.cpu.blas import VARIABLES, forcing, numpys

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # benchmarks/ is no part of the installed package

from benchmarks import harness, machine  # noqa: E402
from benchmarks.contenders import CONTENDERS, missing  # noqa: E402
from benchmarks.harness import Settings, race  # noqa: E402
from benchmarks.processes import Gone, Process, environment  # noqa: E402
from benchmarks.workloads import CPU  # noqa: E402


def numpys_of_its_own() -> dict:
    """NumPy's BLAS in a process as a contender has it."""
    code = "import json; from gpubp.backends.cpu.blas import numpys; print(json.dumps(numpys()._asdict()))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment(1), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_no_process_gets_variables_that_force_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_max_isa=AVX2 --xla_dump_to=a")
    made = environment(2)
    assert forcing(made) == {} and made["XLA_FLAGS"] == "--xla_dump_to=a"
    assert made["OPENBLAS_NUM_THREADS"] == "2"
    assert machine.describe(2)["taken_out"] == dict.fromkeys(VARIABLES, "1") | {"XLA_FLAGS": "--xla_cpu_max_isa=AVX2"}


def test_a_contender_takes_the_processors_own_kernels(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if numpys().name != "OpenBLAS":
        pytest.skip(f"NumPy's BLAS is {numpys().name}, not OpenBLAS")
    for name in forcing():
        monkeypatch.delenv(name)
    found = []
    for coretype in ("", "Nehalem"):
        monkeypatch.setenv("OPENBLAS_CORETYPE", coretype)
        raced, _ = race(CPU["W4"], ["gpubp"], Settings(1, 0.01, 1))
        found.append(raced["contenders"]["gpubp"]["kernels"])
        harness.say_what_is_taken_out(machine.describe(1))
    assert found[0] == found[1] == [numpys_of_its_own()]
    assert capsys.readouterr().out == "taken out of every contender's environment: OPENBLAS_CORETYPE=Nehalem\n"


# One for each file of contenders, and gpubp[fast]: the others of a file name the same libraries.
OWN = "gpubp_steps"
LIBRARIES = {
    (e.module, e.variant * (e.module == OWN)): n for n, e in reversed(CONTENDERS.items()) if "cpu" in e.devices
}


@pytest.mark.parametrize("name", sorted(LIBRARIES.values()))
def test_every_contender_names_its_libraries(name: str) -> None:
    if missing(name):
        pytest.skip(f"{missing(name)} is not installed")
    with Process(name, 1) as process:
        process.ask(do="make", name=name, workload=CPU["W1"].as_json(), threads=1)
        told = process.ask(do="kernels")["kernels"]
    first = {
        "gpubp_steps": numpys().name, "torch_steps": "loops", "products": "loops", "jax_steps": "XLA",
        "thinc_steps": "BLIS",
    }  # fmt: skip
    assert told and told[0]["name"] == first.get(CONTENDERS[name].module, told[0]["name"])
    assert all(kernel["version"] for kernel in told)
    if name in ("gpubp-fast", "gpubp-exact"):
        assert told[1]["name"] == "Numba" and told[1]["kernel"]


def test_a_contender_that_does_not_report_kernels_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    ask = Process.ask

    def fail(process: Process, limit: float = 120.0, **asked: object) -> dict:
        if asked["do"] == "kernels":
            raise Gone("no word")
        return ask(process, limit, **asked)

    monkeypatch.setattr(Process, "ask", fail)
    heard: list[str] = []
    found, _ = race(CPU["W4"], ["gpubp"], Settings(1, 0.01, 1), heard.append)
    assert found["contenders"]["gpubp"]["kernels"] == [] and len(found["contenders"]["gpubp"]["seconds"]) == 1
    assert heard == ["  W4: gpubp does not say its kernels: no word"]


def test_the_machine_is_described() -> None:
    if not Path("/proc/cpuinfo").exists():
        pytest.skip("there is no /proc/cpuinfo")
    lines = Path("/proc/cpuinfo").read_text()
    found = machine.describe(2)
    for field, name in (
        ("cpu family", "family"),
        ("model", "model"),
        ("stepping", "stepping"),
        ("vendor_id", "vendor"),
    ):
        values = re.findall(rf"^{field}\s*: (.*)$", lines, re.M)
        assert found.get(name) == (values[-1] if values else None)


def test_the_estimators_table_begins_again_without_forced_kernels() -> None:
    pytest.importorskip("sklearn")
    command = [sys.executable, ROOT / "scripts" / "estimators_table", "--help"]
    given = environment(1) | {"OPENBLAS_CORETYPE": "Nehalem"}
    done = subprocess.run(command, env=given, capture_output=True, text=True)
    assert done.returncode == 0 and "--quick" in done.stdout
    assert done.stderr == "taken out of the environment: OPENBLAS_CORETYPE=Nehalem\n"
