"""Ctrl-C and SIGTERM, sent to a process that trains."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from test_resume import X, Y, bits, trainer

from gpubp.training import snapshot

ENDED = """
import os, signal, sys, threading
import numpy as np, gpubp as bp
from test_resume import X, Y, trainer

class Press(bp.Callback):
    def on_step_end(self, trainer):
        if trainer.step_count == 7:
            os.kill(os.getpid(), int(sys.argv[2]))
            if sys.argv[3:]:
                os.kill(os.getpid(), int(sys.argv[2]))

history = trainer().fit(X, Y, epochs=9, callbacks=[Press(), bp.Checkpoint(sys.argv[1])])
print("interrupted", history.interrupted)
"""


def ended(*arguments: object) -> subprocess.CompletedProcess[str]:
    paths = [str(folder) for folder in Path(__file__).parents[:3]]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run(
        [sys.executable, "-c", ENDED, *map(str, arguments)],
        env=environment, capture_output=True, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_a_signal_ends_training_with_a_checkpoint(number: int, code: int, tmp_path: Path) -> None:
    done = ended(tmp_path, int(number))
    assert (done.returncode, done.stderr) == (code, "")
    assert done.stdout == ("interrupted True\n" if code == 0 else "")
    assert snapshot.checkpoints_in(tmp_path)[0].name == "step-000000007.safetensors"
    whole, again = trainer(), trainer()
    again.resume(tmp_path)
    for t in (whole, again):
        t.fit(X, Y, epochs=9)
    assert bits(again) == bits(whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_the_process(number: int, tmp_path: Path) -> None:
    done = ended(tmp_path, int(number), "twice")
    assert done.returncode == -number and "interrupted" not in done.stdout
    whole, again = trainer(), trainer()
    again.resume(tmp_path)
    assert again.step_count < 7
    for t in (whole, again):
        t.fit(X, Y, epochs=9)
    assert bits(again) == bits(whole)


def test_ctrl_c_in_a_process(tmp_path: Any) -> None:
    script = textwrap.dedent(
        """
        import numpy as np, gpubp as bp
        net = bp.Network(bp.Dense(2), 3, device="cpu")
        trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD())
        begun = bp.LambdaCallback(on_epoch_end=lambda t, logs: t.epoch == 1 and print("ready", flush=True))
        history = trainer.fit(np.ones((64, 3)), np.zeros(64, int), epochs=10**7, callbacks=[begun])
        print(history.interrupted, history.epochs > 0, np.isfinite(net.flat).all(), flush=True)
        """
    )
    receives_it = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # which a shell's background job ignores
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, preexec_fn=receives_it
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        running.send_signal(signal.SIGINT)
        assert running.communicate(timeout=300)[0] == "True True True\n"
    assert running.returncode == 0
