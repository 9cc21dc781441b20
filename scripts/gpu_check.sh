#!/usr/bin/env bash
# Run the checks that need a GPU. A call takes some minutes and needs no network.
#
#   scripts/gpu_check.sh FOLDER first     the machine, two networks, NaN after cuBLAS's ReLU, NCCL, tests: 150 s at most
#   scripts/gpu_check.sh FOLDER second    exact numerics, parity of CPU and GPU, benchmarks, races: 270 s at most
#   scripts/gpu_check.sh FOLDER third     training as on the CPU, resume after a kill, full memory, `gpubp compare`, and
#                                         where steps lose time: 170 s at most
#   scripts/gpu_check.sh FOLDER profile   the last of these alone, where steps lose time: 85 s at most
#   scripts/gpu_check.sh FOLDER all       first, second and third: 560 s at most
#   scripts/gpu_check.sh FOLDER first --dry      without a GPU, small versions of all stages on tests/strict.py
#
# Results are written line by line into FOLDER/results.jsonl, everything else into FOLDER/logs.tar.gz. The last output is
# a table; scripts/gpu_table.py FOLDER prints it again. The script needs CuPy (for CUDA 12 or 13) and pytest. It compares
# with torch and JAX if they are installed. It uses gpubp from this checkout. The third part trains on MNIST if GPUBP_MNIST
# names the folder with its files, else on scikit-learn's digits.
# Exit codes: 0 all checks passed, 1 a check failed, 2 wrong arguments, 3 no GPU.
set -uo pipefail
SECONDS=0
usage() {
  echo "usage: scripts/gpu_check.sh FOLDER first|second|third|profile|all [--dry]" >&2
  exit 2
}
(( $# == 2 || $# == 3 )) || usage
case $2 in first | second | third | profile | all) ;; *) usage ;; esac
[[ -n $1 && ${3:---dry} == --dry ]] || usage
mkdir -p "$1" || exit 2
out=$(cd "$1" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
python=${PYTHON:-python3}

if (( $# == 2 )); then
  reason=$(timeout 90 "$python" -c 'from gpubp.backends.cuda.driver import why_not; print(why_not())') || {
    echo "scripts/gpu_check.sh: nothing was checked, because asking for a GPU failed or took more than 90 s" >&2
    exit 2
  }
  if [[ -n $reason ]]; then
    echo "scripts/gpu_check.sh: nothing was checked, because no GPU can be used: $reason"
    exit 3
  fi
fi
exec "$python" scripts/gpu_stages.py "$out" "$2" ${3:+"$3"} --spent "$SECONDS"
