"""An outage in the log: said at once, again each minute, and its end with its length."""

import pytest

from core.outage import OutageLog


class Clock:
    """A clock that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outage(clock: Clock) -> OutageLog:
    return OutageLog("oven away, we eat bread", "oven back", clock)


def test_an_outage_is_logged_at_once_and_again_each_minute(
    outage: OutageLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for second in range(150):
        clock.now = 1000.0 + second
        outage.note_failure(f"no gas at {second}")
    assert [record.getMessage() for record in caplog.records] == [
        f"oven away, we eat bread: no gas at {second}" for second in (0, 60, 120)
    ]


def test_its_end_is_logged_once_with_its_length(
    outage: OutageLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "reviews")
    outage.note_success()
    outage.note_failure("no gas")
    assert outage.is_on
    clock.now += 2.5
    outage.note_success()
    outage.note_success()
    assert not outage.is_on
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["oven away, we eat bread: no gas", "oven back after 2.5 s"]


def test_what_fails_again_and_again_fills_no_log(
    outage: OutageLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "reviews")
    for _ in range(100):
        outage.note_failure("no gas")
        clock.now += 0.5
        outage.note_success()
    assert len(caplog.records) == 2
    outage.note_failure("no gas")
    clock.now += 59.0
    outage.note_failure("no gas")
    outage.note_success()
    lines = [record.getMessage() for record in caplog.records[2:]]
    assert lines == ["oven away, we eat bread: no gas", "oven back after 59.0 s"]
