"""The time that a written file takes for a row, on this machine, with the C compiler that is found."""

from __future__ import annotations

import datetime
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ...backends.machine import processor
from .words import plain

COMPILERS = ("cc", "gcc", "clang")
COMPILE_LIMIT, RUN_LIMIT = 300.0, 120.0  # seconds
OPTIONS = ("-std=c99", "-O2")

PROGRAM = """\
#include <stdio.h>
#include <time.h>

void PREDICT(const REAL *x, REAL *y);

static double seconds_of(const REAL *x, REAL *y, long rows)
{
    const clock_t start = clock();
    for (long r = 0; r < rows; r++)
        PREDICT(x, y);
    return (double)(clock() - start) / CLOCKS_PER_SEC;
}

int main(void)
{
    static REAL x[INPUTS], y[OUTPUTS];
    unsigned long state = 1;
    long rows = 1;
    double best;
    for (long i = 0; i < INPUTS; i++) {
        state = (state * 1664525UL + 1013904223UL) & 0xffffffffUL;
        x[i] = (REAL)((double)state / 2147483648.0 - 1.0);
    }
    while ((best = seconds_of(x, y, rows)) < 0.02)
        rows *= 2;
    for (int k = 0; k < 5; k++) {
        const double spent = seconds_of(x, y, rows);
        if (spent < best)
            best = spent;
    }
    printf("%.9g\\n", best / (double)rows);
    return 0;
}
"""


class Timing(NamedTuple):
    """The seconds of a row, and by what they were measured; None, and why they were not.

    >>> Timing(2.5e-6, "cc -O2").sentence()
    'Time of a row: 2.5 us, measured with cc -O2.'
    """

    seconds: float | None
    how: str

    def sentence(self) -> str:
        """What a comment says of it; "" where nothing was measured."""
        if self.seconds is None:
            return ""
        return f"Time of a row: {in_time(self.seconds)}, measured with {self.how}."


def in_time(seconds: float) -> str:
    """A short time as people read it.

    >>> in_time(0.0123), in_time(4.2e-7)
    ('12.3 ms', '0.42 us')
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"


def time_of_a_row(text: Iterable[str], predict: str, real: str, inputs: int, outputs: int) -> Timing:
    """Compile a file with the function `predict` and measure it: the best of six times of many rows.

    real: the type of its numbers in C. The time is that of the processor, with one thread.

    >>> text = ["void twice(const float *x, float *y) { y[0] = 2.0f * x[0]; }"]
    >>> timing = time_of_a_row(text, "twice", "float", 1, 1)
    >>> timing.seconds is None or timing.seconds < 1e-3
    True
    """
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        return Timing(None, f"no C compiler was found: {', '.join(COMPILERS)}")
    values = {"PREDICT": predict, "REAL": real, "INPUTS": str(inputs), "OUTPUTS": str(outputs)}
    program = re.sub(rf"\b({'|'.join(values)})\b", lambda found: values[found[0]], PROGRAM)
    with tempfile.TemporaryDirectory(prefix="gpubp-") as folder:
        sources = [Path(folder, name) for name in ("model.c", "main.c")]
        with open(sources[0], "w", encoding="ascii") as file:
            file.writelines(text)
        sources[1].write_text(program, encoding="ascii")
        made = Path(folder, "measure.exe")
        try:
            given = [compiler, *OPTIONS, "-o", str(made), *map(str, sources), "-lm"]
            subprocess.run(given, check=True, capture_output=True, text=True, timeout=COMPILE_LIMIT)
            run = subprocess.run([made], check=True, capture_output=True, text=True, timeout=RUN_LIMIT)
            seconds = float(run.stdout)
        except subprocess.CalledProcessError as problem:
            last = (problem.stderr or "").strip().splitlines()[-1:] or [f"it ended with {problem.returncode}"]
            return Timing(None, f"{Path(compiler).name}: {plain(last[0])}")
        except (subprocess.TimeoutExpired, OSError, ValueError) as problem:
            return Timing(None, plain(str(problem)))
    return Timing(seconds, f"{Path(compiler).name} {OPTIONS[-1]} on {plain(processor())}, {datetime.date.today()}")
