"""Virtual time: an event loop whose clock jumps, and threads that are greenlets in it.

Our modules get this time from `core.clock` and find these in the place of `threading`; nothing else
in them is changed. A thread runs until it waits, so the order of events is chosen, never a race.
"""

import asyncio
import selectors
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from datetime import datetime
from types import SimpleNamespace, TracebackType
from typing import Any
from unittest.mock import patch

from sqlalchemy.util import await_only, greenlet_spawn

from core.clock import replaced_by
from db import engine
from ingest import message_queue, writer


class Stuck(Exception):
    """Everybody waits for somebody else."""


class _NoFiles(selectors.SelectSelector):
    """Waits for nothing but time, and for that no longer than it takes to say so."""

    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise Stuck("everybody waits for somebody else")
        self.loop.now += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in which time passes only when nobody has anything to do."""

    def __init__(self) -> None:
        self.now = 0.0
        selector = _NoFiles()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now

    def _write_to_self(self) -> None:
        """Wake nobody: there is one thread."""


class Process:
    """What a worker's process is made of: tasks, all of which end when it is killed."""

    def __init__(self, name: str, on_kill: Callable[[], None]) -> None:
        self.name, self._on_kill = name, on_kill
        self.is_dead = False
        self._tasks: dict[asyncio.Task[Any], None] = {}  # in order, as all here must be

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        token = _here.set(self)
        task = asyncio.get_running_loop().create_task(work)
        _here.reset(token)
        self._tasks[task] = None
        task.add_done_callback(self._end)
        return task

    def _end(self, task: asyncio.Task[Any]) -> None:
        del self._tasks[task]
        if not task.cancelled():
            task.exception()  # of which nobody else may have heard: that the process is dead

    def kill(self) -> None:
        """Go on nowhere in it: not even to the end of a statement."""
        if self.is_dead:
            return
        self.is_dead = True
        self._on_kill()
        for task in [*self._tasks]:
            task.cancel()


_here: ContextVar[Process] = ContextVar("process")


def sleep(seconds: float) -> None:
    """Let others go on for so long; in a thread only."""
    await_only(asyncio.sleep(seconds))


def _wait(waiting: deque[asyncio.Future[None]], seconds: float | None) -> None:
    """Wait to be woken from the queue, or for so long."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    timer = None if seconds is None else loop.call_later(seconds, _wake, future)
    waiting.append(future)
    try:
        await_only(future)
    finally:
        if future in waiting:
            waiting.remove(future)
        if timer is not None:
            timer.cancel()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _wake_one(waiting: deque[asyncio.Future[None]]) -> None:
    while waiting:
        future = waiting.popleft()
        if not future.done():  # or it has given up, and another may have its turn
            future.set_result(None)
            return


class Lock:
    def __init__(self) -> None:
        self._is_locked = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    def acquire(self, timeout: float = -1) -> bool:
        end = asyncio.get_running_loop().time() + timeout
        while self._is_locked:
            left = end - asyncio.get_running_loop().time()
            if timeout >= 0 and left <= 0:
                return False
            _wait(self._waiting, left if timeout >= 0 else None)
        self._is_locked = True
        return True

    def release(self) -> None:
        self._is_locked = False
        _wake_one(self._waiting)

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class Condition:
    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._waiting: deque[asyncio.Future[None]] = deque()

    def wait_for(self, predicate: Callable[[], bool], timeout: float | None = None) -> bool:
        loop = asyncio.get_running_loop()
        end = None if timeout is None else loop.time() + timeout
        while not predicate():
            left = None if end is None else end - loop.time()
            if left is not None and left <= 0:
                return False
            self._lock.release()
            _wait(self._waiting, left)
            self._lock.acquire()
        return True

    def notify(self) -> None:
        _wake_one(self._waiting)

    def notify_all(self) -> None:
        while self._waiting:
            self.notify()


class Event:
    def __init__(self) -> None:
        self._is_set = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        while self._waiting:
            _wake_one(self._waiting)

    def wait(self, timeout: float | None = None) -> bool:
        if not self._is_set:
            _wait(self._waiting, timeout)
        return self._is_set


class Thread:
    """A thread of the process that starts it."""

    def __init__(self, target: Callable[[], None], name: str, daemon: bool) -> None:
        self._target, self._ended = target, Event()
        self.name, self.daemon = name, daemon

    def start(self) -> None:
        _here.get().start(greenlet_spawn(self._run))

    def _run(self) -> None:
        try:
            self._target()
        finally:
            self._ended.set()

    def join(self, timeout: float | None = None) -> None:
        self._ended.wait(timeout)

    def is_alive(self) -> bool:
        return not self._ended.is_set()


class VirtualClock:
    """The loop's time as the clock of every module; `utc_now` is the story's."""

    def __init__(self, loop: VirtualLoop, utc_now: Callable[[], datetime]) -> None:
        self.monotonic, self.utc_now, self.sleep = loop.time, utc_now, sleep


@contextmanager
def virtual_modules(loop: VirtualLoop, utc_now: Callable[[], datetime]) -> Iterator[None]:
    """Put virtual time and threads into our modules."""
    threading = SimpleNamespace(Lock=Lock, Condition=Condition, Event=Event, Thread=Thread)
    with ExitStack() as patched:
        patched.enter_context(replaced_by(VirtualClock(loop, utc_now)))
        for module in (writer, engine, message_queue):
            patched.enter_context(patch.object(module, "threading", threading))
        yield
