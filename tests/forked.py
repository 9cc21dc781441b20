"""Work in a forked process, with a time limit: a child that waits for a thread of its parent's fails the test."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def in_child(work: Callable[[], Any], seconds: float = 300.0) -> Any:
    """What `work` returns in a forked process; AssertionError if it raises, or is not done in time."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            done = True, work()
        except BaseException as problem:
            done = False, repr(problem)
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(done, pipe)
        os._exit(0)
    os.close(writing)
    watch = threading.Timer(seconds, os.kill, (child, signal.SIGKILL))
    watch.start()
    try:
        with os.fdopen(reading, "rb") as pipe:
            content = pipe.read()
    finally:
        watch.cancel()
        os.waitpid(child, 0)
    assert content, f"the child was not done after {seconds:g} seconds"
    fine, result = pickle.loads(content)
    assert fine, result
    return result
