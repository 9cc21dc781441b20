"""A table is prepared with the same bits on every processor; NumPy's own logarithms and sines differ between them."""

import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="tables need pyarrow")
PREPARED = """
import hashlib
import numpy as np, pyarrow as pa
from gpubp.tables import Table, fit
rng = np.random.default_rng(0)
whole = rng.integers(1, 10**6, (2, 6000))
columns = {
    "skewed": whole[0] * whole[0] / whole[1],
    "plain": whole[0] / 10**6,
    "when": (np.datetime64("2020-01-01T00:00:00") + rng.integers(0, 10**8, 6000)).astype(str),
    "y": whole[1] / 10**6,
}
table = Table(pa.table({name: [str(v) for v in column] for name, column in columns.items()}))
preparation = fit(table, "y")
assert preparation.columns[0].log
digest = hashlib.sha256(repr(preparation).encode())
for first, batch in table.batches(preparation.needed):
    X = preparation.transform(batch, first)
    digest.update(X.tobytes())
    digest.update(preparation.columns[0].original(X[:, 0]).tobytes())  # float64: rounding to float32 hides a last bit
print(digest.hexdigest())
"""


def test_other_features_of_the_processor_change_no_bit():
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    if not found:
        pytest.skip("NumPy takes no features of this processor beyond those that every one has")
    settings = [{}, {"NPY_DISABLE_CPU_FEATURES": " ".join(found)}]
    prints = {
        subprocess.run(
            [sys.executable, "-c", PREPARED], env={**os.environ, **more}, capture_output=True, text=True, check=True
        ).stdout
        for more in settings
    }
    assert len(prints) == 1
    assert len(prints.pop().strip()) == 64
