#!/usr/bin/env bash
# What only a machine with a GPU can show, in one call of under ten minutes and without network:
#
#   scripts/gpu_check.sh FOLDER
#
# GPU tests, parity of CPU and GPU, benchmarks; JSON and logs into FOLDER, a short table last. Needs CuPy (for CUDA 12 or
# 13) and pytest; gpubp is taken from this checkout. Exits with 0 if all is well, 1 if something failed, 3 without a GPU.
set -uo pipefail
if (( $# != 1 )); then
  echo "usage: scripts/gpu_check.sh FOLDER" >&2
  exit 2
fi
mkdir -p "$1" || exit 2
out=$(cd "$1" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
python=${PYTHON:-python3}

reason=$("$python" -c 'from gpubp.backends.driver import why_not; print(why_not())') || exit 2
if [[ -n $reason ]]; then
  echo "scripts/gpu_check.sh: nothing was checked, because no GPU can be used: $reason"
  exit 3
fi

# part NAME SECONDS COMMAND...: its output into FOLDER/NAME.log, its exit code into FOLDER/parts.txt
: > "$out/parts.txt"
part() {
  local name=$1 seconds=$2
  shift 2
  echo "== $name: $*"
  local start=$SECONDS
  timeout "$seconds" "$@" > "$out/$name.log" 2>&1
  echo "$name $? $((SECONDS - start))" >> "$out/parts.txt"
}

part machine 60 "$python" scripts/gpu_machine.py "$out/machine.json"
part tests 200 "$python" -m pytest -q -p no:cacheprovider -o addopts= --junitxml="$out/tests.xml" \
  tests/kernels/test_cublaslt_gpu.py tests/kernels/test_training_gpu.py
part parity 120 "$python" scripts/gpu_parity.py "$out"
if [[ -d benchmarks ]]; then
  part benchmarks 220 "$python" -m benchmarks gpu --json "$out/benchmarks.json"
fi

exec "$python" scripts/gpu_table.py "$out"
