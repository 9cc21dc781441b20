"""How long processes wait, and what a roll call says."""

import pytest

from gpubp.processes.notices import Member, Notices, Place
from gpubp.processes.waiting import DEFAULT_LIMIT, VARIABLE, _verdict, time_limit


def test_time_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert (time_limit(), time_limit(5)) == (DEFAULT_LIMIT, 5.0)
    monkeypatch.setenv(VARIABLE, "90.5")
    assert (time_limit(), time_limit(5)) == (90.5, 5.0)


@pytest.mark.parametrize("wrong", ["soon", "0", "-3", "nan"])
def test_wrong_time_limits(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, wrong)
    with pytest.raises(ValueError, match=f"{VARIABLE} is a number of seconds above 0, such as 600; got '{wrong}'"):
        time_limit()


def notices(size: int, **waiting: Place) -> Notices:
    """Those of process 0, in its 7th call, which has heard from process 1 as p1=..."""
    made = Notices(0, size)
    made.members = [Member(f"host{rank}", 100 + rank) for rank in range(size)]
    made.place = Place(7, "the sum of gradients")
    made.waiting = {int(name[1:]): place for name, place in waiting.items()}
    return made


def test_one_is_silent() -> None:
    said = _verdict(notices(3, p1=Place(7, "the sum of gradients")), [2], 61.0)
    assert said.startswith(
        "process 2 of 3 (host host2, pid 102) has not come to the sum of gradients for 61 s: it hangs, or does other"
    )


def test_many_are_silent() -> None:
    said = _verdict(notices(9), list(range(1, 9)), 61.0)
    assert "process 5 of 9 (host host5, pid 105), 3 more have not come" in said and "they hang, or do" in said


def test_one_is_elsewhere() -> None:
    """One that is ahead has done its part of this call; one that is behind, or in another call, has not."""
    found = notices(4, p1=Place(8, "a copy"), p2=Place(7, "a copy"), p3=Place(7, "the sum of gradients"))
    said = _verdict(found, [], 61.0)
    assert said.startswith(
        "process 0 waits for the sum of gradients, but process 2 of 4 (host host2, pid 102) for a copy: all processes"
    )


def test_nobody_is_missing() -> None:
    said = _verdict(notices(2, p1=Place(7, "the sum of gradients")), [], 61.0)
    assert said.startswith("all processes have waited in the sum of gradients for 61 s, and the messages have not come")
