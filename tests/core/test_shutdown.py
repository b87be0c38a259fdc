"""A signal that ends the server is noticed, whoever handles it, and handled as before."""

import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from core.shutdown import SIGNALS, Shutdown


@pytest.fixture
def handled() -> Iterator[list[int]]:
    """The signals that reach a server whose handler is a plain function."""
    numbers: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        numbers.append(number)

    before = {each: signal.signal(each, handle) for each in SIGNALS}
    yield numbers
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noticed_and_handed_on(handled: list[int], number: int) -> None:
    shutdown = Shutdown()
    with shutdown.notice():
        assert not shutdown.has_begun
        signal.raise_signal(number)
        assert shutdown.has_begun
        signal.raise_signal(number)  # a server may end at once at the second
    assert handled == [number, number]


@pytest.mark.usefixtures("handled")
def test_afterwards_the_handlers_are_those_of_before() -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    shutdown = Shutdown()
    with shutdown.notice():
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(each) for each in SIGNALS] == before
    signal.raise_signal(signal.SIGTERM)
    assert not shutdown.has_begun


@pytest.mark.usefixtures("handled")
def test_a_signal_that_nobody_handles_stays_so() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with Shutdown().notice():
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.usefixtures("handled")
def test_another_thread_than_the_main_one_leaves_signals_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    found = []

    def look() -> None:
        with Shutdown().notice():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [before]
