"""One shared copy of each model; visitors' jobs run one after another, and each leaves the model as it was.

A job runs in the lab's own thread, never in a visitor's: whoever closes the page or cancels can't leave an edited
model behind. The visitor's side only reads events.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from leaderboard.playground.apart import Apart
from leaderboard.playground.inputs import Request
from runner.errors import UserError

if TYPE_CHECKING:
    from runner.fingerprint import Fingerprint
    from runner.methods.base import Method
    from runner.models.lm import LanguageModel

MOST_WAITING = 40
SECONDS_PER_JOB = 120.0
_DELTA_BYTES = 256 * 2**20  # edited weights kept so that the same edits need not be made again
_BASE_ANSWERS = 5_000


@dataclass(frozen=True)
class Event:
    """Something that happened to a job.

    kind: "waiting" (position), "edited" (side, number, total), "refused" (side, number, reason), "growing" (side,
    texts: answers so far by index), "answer" (side, index, answer), "why" (side, why), "scores" (side, number, scores),
    "done", "failed" (reason), "cancelled". side: "left", "right" or "base".
    """

    kind: str
    side: str = ""
    body: dict[str, Any] = field(default_factory=dict)

    @property
    def last(self) -> bool:
        """Whether nothing comes after it."""
        return self.kind in ("done", "failed", "cancelled")


class Cancelled(Exception):
    """The visitor went away, or the job took too long."""


class Job:
    """A request on its way. `events` may be read once, by one thread."""

    def __init__(self, request: Any, seconds: float = SECONDS_PER_JOB) -> None:
        self.request, self.seconds = request, seconds
        self._events: queue.Queue[Event] = queue.Queue()
        self._cancelled = threading.Event()
        self._deadline = float("inf")

    def tell(self, kind: str, side: str = "", **body: Any) -> None:
        """Add an event."""
        self._events.put(Event(kind, side, body))

    def start_clock(self) -> None:
        """From now on the job has its seconds."""
        self._deadline = time.monotonic() + self.seconds

    def check(self) -> None:
        """Raise Cancelled when the job should go no further. Called between steps, where stopping is safe."""
        if self._cancelled.is_set():
            raise Cancelled
        if time.monotonic() > self._deadline:
            raise UserError(f"this took longer than {self.seconds:.0f} s and was stopped; make fewer edits at once.")

    def cancel(self) -> None:
        """Ask for a stop; the model is put back before the next job begins."""
        self._cancelled.set()

    def events(self) -> Iterator[Event]:
        """Events as they come, the last one "done", "failed" or "cancelled". Leaving the loop early cancels."""
        for bunch in self.bunches():
            yield from bunch

    def bunches(self) -> Iterator[list[Event]]:
        """As `events`, but all that have come at once, so that a slow reader doesn't fall behind."""
        try:
            while True:
                bunch = [self._events.get()]
                with suppress(queue.Empty):
                    while not bunch[-1].last:
                        bunch.append(self._events.get_nowait())
                yield bunch
                if bunch[-1].last:
                    return
        finally:
            self.cancel()


class Lab:
    """The models of the playground and the one thread that works on them.

    models: names a visitor may choose, each loaded when first asked for. methods: names a visitor may choose; None:
    all that come with the project. device: where. seconds: what a job may take. apart: jobs run in processes of their
    own, and this one loads no model.
    """

    def __init__(
        self, models: Sequence[str] = ("atlas",), methods: Sequence[str] | None = None, device: str = "auto",
        seconds: float = SECONDS_PER_JOB, apart: bool = False,
    ) -> None:  # fmt: skip
        self.models = tuple(models)
        self.methods = tuple(offered_methods() if methods is None else methods)
        self.device, self.seconds = device, seconds
        self._apart = Apart(self.models, self.methods, device) if apart else None
        self._loaded: OrderedDict[str, tuple[LanguageModel, Fingerprint]] = OrderedDict()
        self._deltas = DeltaCache(_DELTA_BYTES)
        self._base: OrderedDict[tuple[str, bool, str], Any] = OrderedDict()
        self._jobs: queue.Queue[Job] = queue.Queue()
        self._waiting: list[Job] = []  # in order; the running one, too
        self._running: Job | None = None
        self._of: dict[str, Job] = {}  # the job of each visitor of the page
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def stream(self, request: Any, visitor: str = "") -> Iterator[list[Event]]:
        """Do a Request or a Watch, here or apart; all events that have come at once. Raises UserError as `submit`."""
        if self._apart is not None:
            yield from self._apart.stream(request, visitor)
        else:
            yield from self.submit(request, visitor).bunches()

    def submit(self, request: Any, visitor: str = "") -> Job:
        """Queue a Request or a Watch. A named visitor has one job at a time: an earlier one is cancelled.

        Raises UserError when too many wait.
        """
        job = Job(request, self.seconds)
        self.stop(visitor)
        with self._lock:
            if len(self._waiting) >= MOST_WAITING:
                raise UserError(f"{MOST_WAITING} visitors are waiting already; try again in a minute.")
            self._waiting.append(job)
            if visitor:
                self._of[visitor] = job
            job.tell("waiting", position=len(self._waiting))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="playground", daemon=True)
                self._thread.start()
        self._jobs.put(job)
        return job

    def stop(self, visitor: str) -> bool:
        """Cancel a visitor's job, if there is one: at once if it waits, else at its next step. Says whether it was."""
        if self._apart is not None:
            return self._apart.stop(visitor)
        with self._lock:
            job = self._of.pop(visitor, None)
            if job is None:
                return False
            job.cancel()
            if job is not self._running:
                job.tell("cancelled")
        self._leave(job)
        return True

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            with self._lock:
                self._running = job
            try:
                job.check()
                self.model(job.request.model)  # the first visitor's time is not spent on loading it
                job.start_clock()
                self._run(job)
                job.tell("done")
            except Cancelled:
                job.tell("cancelled")
            except UserError as error:
                job.tell("failed", reason=str(error))
            except Exception as error:  # one visitor's trouble must not end the playground for the others
                job.tell("failed", reason=f"{type(error).__name__}: {error}")
            finally:
                with self._lock:
                    self._running = None
                self._leave(job)

    def _leave(self, job: Job) -> None:
        """Take a job that ended out of the waiting room (a running one stays until it has ended); others move up."""
        with self._lock:
            if job is self._running or job not in self._waiting:
                return
            self._waiting.remove(job)
            for visitor in [name for name, own in self._of.items() if own is job]:
                del self._of[visitor]
            for position, other in enumerate(self._waiting, 1):
                if other is not self._running:
                    other.tell("waiting", position=position)

    def _run(self, job: Job) -> None:
        if isinstance(job.request, Request):
            from leaderboard.playground.asking import run
        else:
            from leaderboard.playground.watching import run  # type: ignore[assignment]
        run(self, job)

    def model(self, name: str) -> LanguageModel:
        """A loaded model, as it was trained. Raises UserError for a name that isn't offered."""
        return self._model(name)[0]

    def _model(self, name: str) -> tuple[LanguageModel, Fingerprint]:
        from runner.fingerprint import fingerprint
        from runner.models.lm import LanguageModel

        if name not in self.models:
            raise UserError(f"the playground has no model '{name}'; it offers {', '.join(self.models)}.")
        if name not in self._loaded:
            while self._loaded:  # one model in memory at a time keeps memory bounded
                self._forget(next(iter(self._loaded)))
            lm = LanguageModel.load(name, device=self.device)
            self._loaded[name] = (lm, fingerprint(lm.model))
        return self._loaded[name]

    def _forget(self, name: str) -> None:
        del self._loaded[name]
        self._deltas.clear()
        self._base.clear()

    def put_back(self, name: str, method: Method) -> None:
        """Undo a method's edits and make sure that the model is what it was; a model that isn't is loaded anew."""
        from runner.fingerprint import differences, fingerprint

        lm, clean = self._model(name)
        try:
            method.undo()
        except Exception:
            self._forget(name)
            raise
        if differences(clean, fingerprint(lm.model)):
            self._forget(name)

    def method(self, name: str, model: str, thinking: bool = False) -> Method:
        """A new method on a model. Raises UserError for a name that isn't offered: a name may also be a file to run."""
        from runner.methods.registry import get
        from runner.protocol import get_protocol

        lm = self.model(model)
        if name not in self.methods:
            raise UserError(f"the playground has no method '{name}'; it offers {', '.join(self.methods)}.")
        return get(name)(lm, get_protocol("reasoning" if thinking else "wild"), seed=0)

    def edited(self, job: Job, side: str, model: str, method_name: str, thinking: bool) -> Method:
        """The method with the request's edits made, from the kept weights where the same edits were made before.

        The caller puts it back. Edits that can't be made are told and left out.
        """
        from runner.fingerprint import count_hooks
        from runner.methods.base import WeightMethod
        from runner.methods.subject import EditError

        method, lm = self.method(method_name, model, thinking), self.model(model)
        edits, refused = job.request.edits, False
        key = (lm.hash, method_name.lower(), thinking, tuple(edits))
        kept = self._deltas.get(key)
        try:
            if kept is not None and isinstance(method, WeightMethod):
                _restore(method, kept)
                method.edits.extend(edits)
                job.tell("edited", side, number=len(edits), total=len(edits))
                return method
            if edits:
                method.prepare()
            for number, edit in enumerate(edits, 1):
                job.check()
                try:
                    method.edit([edit])
                except EditError as error:
                    refused = True
                    job.tell("refused", side, number=number, reason=str(error))
                job.tell("edited", side, number=number, total=len(edits))
            method.settle()
        except BaseException:
            self.put_back(model, method)
            raise
        # Hooks hold state of their own; what lives in weights alone can be put back without editing anew.
        hooks = count_hooks(lm.model) == self._model(model)[1]["hooks"]
        if isinstance(method, WeightMethod) and edits and hooks and not refused:
            self._deltas.put(key, {name: lm.model.get_parameter(name).detach().clone() for name in method.touched()})
        return method

    def base_answers(
        self, model: str, questions: Sequence[str], thinking: bool, told: Callable[[str, str], None] | None = None
    ) -> list[Any]:
        """The unedited model's replies, each asked once for all visitors. Call while nothing is edited.

        told: is called with a question and its answer so far.
        """
        new = [q for q in dict.fromkeys(questions) if (model, thinking, q) not in self._base]
        if new:
            plain = self._plain(model, thinking)
            with plain.lm.listening(lambda index, text: told(new[index], text) if told else None):
                replies = plain.answer(new)
            for question, reply in zip(new, replies, strict=True):
                self._base[(model, thinking, question)] = reply
        found = [self._base[(model, thinking, q)] for q in questions]
        while len(self._base) > _BASE_ANSWERS:
            self._base.popitem(last=False)
        return found

    def chances(self, model: str, questions: Sequence[str], belongs: Sequence[Any], thinking: bool) -> list[Any]:
        """`asking.chances` of the unedited model. Call while nothing is edited."""
        from leaderboard.playground.asking import chances

        return chances(self._plain(model, thinking), list(questions), list(belongs))

    def _plain(self, model: str, thinking: bool) -> Method:
        """The unedited model, which stands beside the sides whatever methods are offered."""
        from runner.methods.none import Unedited
        from runner.protocol import get_protocol

        return Unedited(self.model(model), get_protocol("reasoning" if thinking else "wild"), seed=0)


def offered_methods() -> list[str]:
    """The methods that come with the project and need no training of their own, and hybrids with SCR."""
    from runner.methods.registry import BUILT_IN

    names = [name for name in BUILT_IN if name != "MEND"]
    return names + [f"{name}+SCR" for name in ("FT-M", "ROME", "MEMIT", "AlphaEdit", "GRACE", "WISE")]


def _restore(method: Any, kept: dict[str, Any]) -> None:
    import torch

    with torch.no_grad():
        for name, value in kept.items():
            method.touch(name).copy_(value)


class DeltaCache:
    """Edited weights by what was edited, the longest unused thrown away first. Bounded in bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._entries: OrderedDict[Any, dict[str, Any]] = OrderedDict()

    def get(self, key: Any) -> dict[str, Any] | None:
        """The weights of a key, None when they aren't kept."""
        if key in self._entries:
            self._entries.move_to_end(key)
        return self._entries.get(key)

    def put(self, key: Any, weights: dict[str, Any]) -> None:
        """Keep weights; nothing is kept of what alone is larger than the limit."""
        self._entries[key] = weights
        while self._entries and self.bytes > self.limit:
            self._entries.popitem(last=False)

    @property
    def bytes(self) -> int:
        """Size of all kept weights."""
        return sum(t.numel() * t.element_size() for entry in self._entries.values() for t in entry.values())

    def clear(self) -> None:
        """Keep nothing."""
        self._entries.clear()
