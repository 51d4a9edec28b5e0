"""A deterministic asyncio event loop: virtual time, seeded scheduling, processes that can die.

Everything that runs belongs to an `Actor`, which stands for one operating-system process. The
actor is a context variable, so every task, timer and callback that an actor starts belongs to it
as well. Killing an actor is what SIGKILL is: nothing of it ever runs again, no `finally`, no
`except`. Pausing one is a virtual machine that stops for a while: what it was doing goes on later,
in a world that has moved on.

Inside one actor callbacks run in the order in which they were scheduled, because asyncio promises
that and code may rely on it. Between actors the seed decides. Time moves only when nobody has
anything left to do, and then it jumps to the next timer.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import heapq
import random
import sys
import warnings
from collections import deque
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator

T = TypeVar("T")

MAX_STEPS_WITHOUT_TIME = 200_000
"""Steps at one instant before we call it a livelock: nobody will ever get to the next timer."""

TRACE_TAIL = 60
"""Lines of the trace that a failure shows."""

_MICROSECONDS = 1_000_000


class Deadlock(AssertionError):
    """Nothing can ever run again, and what was to be awaited is not done."""


class Livelock(AssertionError):
    """The same instant went on and on."""


class Actor:
    """One simulated process. Made by `SimulatedLoop.spawn`.

    Attributes:
        name: Unique in one run; says which process and which life of it: `notifier-1#2`.
        alive: `False` for ever after `kill`.
        paused: Whether what it has to do is being held back.
        steps: How many callbacks it has run.
        main: The task it was started with.
    """

    __slots__ = ("_ready", "_tasks", "_tasks_swept", "alive", "main", "name", "paused", "steps")

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        self.steps = 0
        self.main: asyncio.Task[Any] | None = None
        self._ready: deque[asyncio.Handle] = deque()
        self._tasks: list[_Task] = []
        self._tasks_swept = 64

    def __repr__(self) -> str:
        state = "paused" if self.paused else "alive" if self.alive else "dead"
        return f"<Actor {self.name} {state}>"

    def hold(self, task: _Task) -> None:
        """Keep the task from the garbage collector, which would run its `finally` blocks."""
        if len(self._tasks) >= self._tasks_swept:
            self._tasks = [kept for kept in self._tasks if not kept.done()]
            self._tasks_swept = max(64, 2 * len(self._tasks))
        self._tasks.append(task)

    def unfinished(self) -> list[_Task]:
        """Its tasks that are not done, oldest first."""
        return [task for task in self._tasks if not task.done()]


class _Task(asyncio.Task[Any]):
    """A task with a hash of its own number, so that a set of tasks has the same order each run."""

    def __init__(self, number: int, coro: Any, context: Context, **options: Any) -> None:  # noqa: ANN401
        self._number = number
        self.context = context
        super().__init__(coro, context=context, **options)

    def __hash__(self) -> int:
        return self._number


_ACTOR: ContextVar[Actor] = ContextVar("tocsin_simulation.actor")


class SimulatedLoop(asyncio.AbstractEventLoop):
    """The loop. Use `simulate` to run something on it.

    Args:
        seed: Decides every choice between actors.

    Attributes:
        world: The actor of whatever was not started by `spawn`: the test, the broker, the
            providers. It is never killed or paused.
        interfere: Called with the actor whose turn it is, before its callback runs; it may kill or
            pause that actor, which is how a crash between any two awaits is made.
        steps: How many callbacks have run.
    """

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(f"loop {seed}")  # noqa: S311 - a seeded schedule, no secret
        self._time_us = 0
        self._timers: list[tuple[int, int, Actor, asyncio.TimerHandle]] = []
        self._sequence = 0
        self._running = False
        self._closed = False
        self._fatal: BaseException | None = None
        self._steps_at_this_instant = 0
        self._hash = hashlib.blake2b(digest_size=16)
        self._tail: deque[str] = deque(maxlen=TRACE_TAIL)
        self._named: dict[str, int] = {}
        self.problems: list[str] = []
        self.interfere: Callable[[Actor], None] | None = None
        self.steps = 0
        self.world = Actor("world")
        self._actors: list[Actor] = [self.world]
        self._dead: list[Actor] = []

    # What the simulation adds to an event loop.

    def spawn(self, name: str, coroutine: Coroutine[Any, Any, Any]) -> Actor:
        """Start a process: the actor all of whose work `coroutine` begins."""
        actor = Actor(name)
        self._actors.append(actor)
        context = copy_context()
        context.run(_ACTOR.set, actor)
        actor.main = self.create_task(coroutine, name=name, context=context)
        return actor

    def kill(self, actor: Actor) -> None:
        """End the actor now: none of its callbacks, timers or `finally` blocks ever runs again."""
        if not actor.alive or actor is self.world:
            return
        actor.alive = False
        actor.paused = False
        # The handles are kept too: what only they refer to must not be finalised either.
        self._actors.remove(actor)
        self._dead.append(actor)
        self.note(f"killed {actor.name}")

    def pause(self, actor: Actor, seconds: float) -> None:
        """Hold back everything the actor has to do; it goes on after `seconds`."""
        if not actor.alive or actor.paused or actor is self.world:
            return
        actor.paused = True
        self.note(f"paused {actor.name}")
        self.call_as(self.world, seconds, self._resume, actor)

    def _resume(self, actor: Actor) -> None:
        if actor.alive:
            actor.paused = False
            self.note(f"resumed {actor.name}")

    def call_as(
        self, actor: Actor, delay: float, callback: Callable[..., object], *args: object
    ) -> asyncio.TimerHandle:
        """Call back after `delay` seconds on behalf of another actor.

        With the world's actor, this is a message already on its way: it arrives though its sender
        has died.
        """
        context = copy_context()
        context.run(_ACTOR.set, actor)
        return self.call_later(delay, callback, *args, context=context)

    def actor(self) -> Actor:
        """The actor that is running now."""
        return _ACTOR.get(self.world)

    def note(self, line: str) -> None:
        """Put a line into the trace, and so into its digest."""
        stamped = f"{self._time_us / _MICROSECONDS:14.6f} {line}"
        self._hash.update(stamped.encode())
        self._tail.append(stamped)

    def digest(self) -> str:
        """A fingerprint of everything that has happened, in order."""
        return self._hash.hexdigest()

    def tail(self) -> str:
        """The last lines of the trace."""
        return "\n".join(self._tail)

    def dump(self) -> str:
        """Who waits where, for people."""
        lines = [f"at {self._time_us / _MICROSECONDS:.6f} s, after {self.steps} steps"]
        for actor in self._actors:
            lines.append(f"  {actor!r}")
            for task in actor.unfinished():
                frames = task.get_stack(limit=None)
                where = " < ".join(
                    f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"
                    for frame in reversed(frames)
                )
                lines.append(f"    {task.get_name()}: {where or 'not started'}")
                lines.extend(f"      at {line}" for line in _awaiting(task.get_coro()))
        lines += ["last steps:", self.tail()]
        return "\n".join(lines)

    # Running.

    def run_until_complete(self, future: Generator[Any, None, T] | Awaitable[T]) -> T:
        """Run until `future` is done and return what it holds.

        Raises:
            Deadlock: Nothing is left that could complete it.
            Livelock: Time stands still.
        """
        before = sys.get_asyncgen_hooks()
        asyncio._set_running_loop(self)  # noqa: SLF001 - documented for those who write loops
        self._running = True
        sys.set_asyncgen_hooks(firstiter=None, finalizer=self._finalise_generator)
        try:
            task: asyncio.Future[T] = asyncio.ensure_future(future, loop=self)  # type: ignore[arg-type]
            while not task.done():
                self._step()
                if self._fatal is not None:
                    fatal, self._fatal = self._fatal, None
                    raise fatal
            return task.result()
        finally:
            sys.set_asyncgen_hooks(*before)
            self._running = False
            asyncio._set_running_loop(None)  # noqa: SLF001

    def _step(self) -> None:
        runnable = [actor for actor in self._actors if actor._ready and not actor.paused]  # noqa: SLF001
        if not runnable:
            self._jump()
            return
        chosen = runnable[0]
        if len(runnable) > 1:
            chosen = runnable[self._random.randrange(len(runnable))]
        if self.interfere is not None and chosen is not self.world:
            self.interfere(chosen)
            if not chosen.alive or chosen.paused:
                return
        handle = chosen._ready.popleft()  # noqa: SLF001
        if handle.cancelled():
            return
        self.steps += 1
        chosen.steps += 1
        self._steps_at_this_instant += 1
        if self._steps_at_this_instant > MAX_STEPS_WITHOUT_TIME:
            raise Livelock(self.dump())
        self.note(f"{chosen.name}: {_label(handle)}")
        handle._run()  # noqa: SLF001

    def _jump(self) -> None:
        """Go to the next timer of somebody alive and make ready all that is due then."""
        while self._timers:
            when, _, actor, handle = self._timers[0]
            if handle.cancelled() or not actor.alive:
                heapq.heappop(self._timers)
                continue
            break
        else:
            raise Deadlock(self.dump())
        if when > self._time_us:
            self._time_us = when
            self._steps_at_this_instant = 0
        while self._timers and self._timers[0][0] <= self._time_us:
            _, _, actor, handle = heapq.heappop(self._timers)
            if not handle.cancelled() and actor.alive:
                actor._ready.append(handle)  # noqa: SLF001

    def _finalise_generator(self, generator: AsyncGenerator[Any, Any]) -> None:
        if self._running and self.actor().alive:
            self.create_task(generator.aclose(), name="aclose")

    def dispose(self) -> None:
        """Close the loop and let go of what never finished, without a word and without effects.

        Abandoned coroutines do see `GeneratorExit` here, but outside any running loop, after the
        last thing the simulation looked at.
        """
        self._closed = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for actor in (*self._dead, *self._actors):
                for task in actor.unfinished():
                    task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001
                    with contextlib.suppress(Exception):
                        task.context.run(task.get_coro().close)
                actor._tasks.clear()  # noqa: SLF001
                actor._ready.clear()  # noqa: SLF001
            self._timers.clear()
            gc.collect()

    # asyncio.AbstractEventLoop: the part of it that has no I/O.

    def time(self) -> float:
        """Seconds of virtual time since the start."""
        return self._time_us / _MICROSECONDS

    def call_soon(
        self, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> asyncio.Handle:
        """Run `callback` when its actor's turn comes."""
        context = copy_context() if context is None else context
        handle = asyncio.Handle(callback, args, self, context)
        context.get(_ACTOR, self.world)._ready.append(handle)  # noqa: SLF001
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: object,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run `callback` after `delay` seconds of virtual time."""
        return self._call_at_us(
            self._time_us + max(0, _microseconds(delay)), callback, args, context
        )

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: object,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run `callback` at `when` on this loop's clock."""
        return self._call_at_us(_microseconds(when), callback, args, context)

    def _call_at_us(
        self,
        when: int,
        callback: Callable[..., object],
        args: tuple[object, ...],
        context: Context | None,
    ) -> asyncio.TimerHandle:
        context = copy_context() if context is None else context
        handle = asyncio.TimerHandle(when / _MICROSECONDS, callback, args, self, context)
        self._sequence += 1
        entry = (when, self._sequence, context.get(_ACTOR, self.world), handle)
        heapq.heappush(self._timers, entry)
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers leave the heap when their time comes."""

    def create_task(
        self,
        coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        """Start a task; unnamed ones are named after their function and numbered in this run."""
        if self._closed:
            coro.close()
            raise RuntimeError("the simulation is over")
        if name is None:
            function = getattr(coro, "__qualname__", type(coro).__name__)
            number = self._named[function] = self._named.get(function, 0) + 1
            name = f"{function}-{number}"
        context = copy_context() if context is None else context
        self._sequence += 1
        task = _Task(self._sequence, coro, context, loop=self, name=name)
        context.get(_ACTOR, self.world).hold(task)
        return task

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return asyncio.Future(loop=self)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """A callback that raised ends the simulation; other complaints are kept in `problems`."""
        exception = context.get("exception")
        if "handle" in context and exception is not None:
            self._fatal = exception
        elif not self._closed:
            self.problems.append(f"{context.get('message')}: {exception!r}")

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """The same as `call_exception_handler`."""
        self.call_exception_handler(context)

    def is_running(self) -> bool:
        """Whether `run_until_complete` is under way."""
        return self._running

    def is_closed(self) -> bool:
        """Whether the simulation is over."""
        return self._closed

    def close(self) -> None:
        """The same as `dispose`."""
        if not self._closed:
            self.dispose()

    def get_debug(self) -> bool:
        """Always `False`: debug mode would look at the real clock."""
        return False

    async def shutdown_asyncgens(self) -> None:
        """Nothing: generators are let go of in `dispose`."""


def simulate(coroutine: Coroutine[Any, Any, T], *, seed: int = 0) -> T:
    """What `coroutine` returns, run as the world on a fresh `SimulatedLoop`.

    The cyclic garbage collector is off meanwhile: when it runs depends on everything the process
    did before, and it may run code.
    """
    loop = SimulatedLoop(seed)  # type: ignore[abstract]  # sockets and signals stay unimplemented
    collecting = gc.isenabled()
    gc.disable()
    # What was there before is none of ours: the collection at the end need not look at it.
    gc.freeze()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.close()
        gc.unfreeze()
        if collecting:
            gc.enable()


def running_loop() -> SimulatedLoop:
    """The simulated loop we are running on.

    Raises:
        TypeError: We run on another loop.
    """
    loop = asyncio.get_running_loop()
    if not isinstance(loop, SimulatedLoop):
        raise TypeError(f"this needs a SimulatedLoop, not {type(loop).__name__}")
    return loop


def _microseconds(seconds: float) -> int:
    """Whole microseconds, rounded up, so that nobody wakes before the instant asked for."""
    exact = round(seconds * _MICROSECONDS, 3)
    return int(exact) + (exact > int(exact))


def _label(handle: asyncio.Handle) -> str:
    callback = handle._callback  # type: ignore[attr-defined]  # noqa: SLF001
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        return owner.get_name()
    return str(getattr(callback, "__qualname__", type(callback).__name__))


def _awaiting(coroutine: object) -> list[str]:
    """The chain of awaits below a task's coroutine, outermost first."""
    chain: list[str] = []
    while (awaited := getattr(coroutine, "cr_await", None)) is not None:
        frame = getattr(awaited, "cr_frame", None)
        if frame is not None:
            chain.append(f"{awaited.__qualname__} ({frame.f_code.co_filename}:{frame.f_lineno})")
        coroutine = awaited
    return chain
