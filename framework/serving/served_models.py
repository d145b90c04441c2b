"""The models of one server: the one that answers new requests, and earlier ones that still have some."""

import asyncio
import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from framework.build.task import open_task
from framework.core.errors import FrameworkError, ServeError
from framework.core.release import Release
from framework.serving import Renewed
from framework.serving.api.service import Service
from framework.serving.api_error import ApiError
from framework.serving.features import Features
from framework.serving.served_model import ServedModel

_log = logging.getLogger(__name__)
_RESTART_SECONDS = 10
"""``Retry-After`` when the server ends itself: the time in which a supervisor starts it again."""
OpenModel = Callable[[Path, Release], ServedModel]


class ServedModels:
    """Runs one model, and lets another take its place without a lost request."""

    def __init__(
        self, open_model: OpenModel, folder: Path, release: Release, on_end: Callable[[], object]
    ) -> None:
        """Open the first model; ``run`` starts it.

        Args:
            open_model: opens a release's folder.
            folder: the first model's; it is never removed.
            release: the first release.
            on_end: called when the model that answers has ended.
        """
        self._open, self._first_folder, self._on_end = open_model, folder, on_end
        self.current = open_model(folder, release)
        """The model that answers new requests."""
        self._all = [self.current]
        self._reloading = asyncio.Lock()
        self._running: set[asyncio.Task[None]] = set()
        self._refused = False
        self._on_ready: Callable[[], object] | None = None

    @property
    def unanswered(self) -> int:
        """The accepted requests."""
        return sum(len(model.accepted) for model in self._all)

    async def run(self, on_ready: Callable[[], object]) -> None:
        """Run the first model until ``stop``, or until its engine cannot be started again.

        Args:
            on_ready: called once, when a model answers: the first, or one that took its place meanwhile.
        """
        self._on_ready = on_ready
        await self._supervise(self.current, self._answers_now)

    def _answers_now(self) -> None:
        if self._on_ready is not None:
            on_ready, self._on_ready = self._on_ready, None
            on_ready()

    def refuse(self, error: ApiError) -> None:
        """Refuse new requests from now on."""
        self._refused = True
        for model in self._all:
            model.accepted.refusal = error

    def cut(self, error: ApiError) -> int:
        """End every accepted request with *error*; return how many there were."""
        cut = 0
        for model in self._all:
            refusal = model.accepted.refusal
            cut += model.accepted.fail_all(error)
            model.accepted.refusal = refusal or error
        return cut

    async def stop(self) -> None:
        """End the engines."""
        for model in tuple(self._all):  # a reload removes its old one meanwhile
            await model.supervisor.stop()

    async def reload(self, renewed: Renewed, service: Service, features: Features) -> None:
        """Take the release that there is now; without one that works, go on with the one before.

        Args:
            renewed: returns the release and its folder.
            service: gets the new model.
            features: what belongs to a release keeps it from being replaced.
        """
        async with self._reloading:  # one after another
            serves = f"{self.current.release.name} {_short(self.current.release)} goes on"
            try:
                release, folder = await asyncio.to_thread(renewed)
                if release.digest == self.current.release.digest:
                    print(f"reload: the model is the same; {serves}", file=sys.stderr)
                    return
                self._check(release, features)
                model = await self._started(folder, release)
            except FrameworkError as error:
                print(f"reload: {error}; {serves}", file=sys.stderr)
                return
            except Exception:  # a fault of ours, or of a store's client
                _log.exception("reload: failed; %s", serves)
                return
            if not self._refused:  # else the server drains all models
                await self._switch(model, service)

    def _check(self, release: Release, features: Features) -> None:
        """Refuse a release that cannot take the current one's place.

        Raises:
            ServeError: it has other routes, or jobs or adapters that belong to the current one.
        """
        again, old = "start the server again", self.current.release
        if _answers(release) != _answers(old):
            raise ServeError(f"its task '{release.task}' has other routes; {again}")
        if features.adapters:
            raise ServeError(f"serving.adapters were made for the release before; {again} with its own")
        if features.jobs is not None and release.name != old.name:
            raise ServeError(f"it is '{release.name}', but serving.jobs has jobs of '{old.name}'; {again}")

    async def _started(self, folder: Path, release: Release) -> ServedModel:
        """Return the model when its engine answers.

        Raises:
            ServeError: it cannot be opened.
        """
        model = self._open(folder, release)
        self._all.append(model)
        ready = asyncio.Event()
        running = asyncio.ensure_future(self._supervise(model, ready.set))
        waiting = asyncio.ensure_future(ready.wait())
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not ready.is_set():
            self._all.remove(model)
            raise ServeError(model.supervisor.failure or "its engine has ended")
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return model

    async def _supervise(self, model: ServedModel, on_ready: Callable[[], object]) -> None:
        """Run a model's engine to its end."""
        supervisor = model.supervisor
        try:
            await supervisor.run(on_ready)
        except Exception:
            _log.exception("the supervisor failed")
            supervisor.failure = "the server cannot start its model's process; the cause is logged above"
        if supervisor.failure:
            failed = "The model's process failed; see the server's log"
            model.accepted.fail_all(ApiError(503, failed, retry_after=_RESTART_SECONDS))
        if model is self.current:
            self._on_end()

    async def _switch(self, model: ServedModel, service: Service) -> None:
        """Let *model* answer new requests, and end the one before when its requests have ended."""
        old, self.current = self.current, model
        service.serve(model.release, model.context, model.answers)
        service.tell = model.tell
        service.metrics.introduce(model.release)
        self._answers_now()
        begun = set(service.under_way)
        print(
            f"reload: serving {model.release.name} {_short(model.release)}; {len(begun)} requests of "
            f"{_short(old.release)} go on",
            file=sys.stderr,
        )
        # A request may not have reached the queue yet, so those in the middleware count, too.
        while old.accepted or begun & service.under_way:
            await asyncio.sleep(0.02)
        self._all.remove(old)
        await old.supervisor.stop()
        if old.folder != self._first_folder:  # fetched for a reload
            await asyncio.to_thread(shutil.rmtree, old.folder, ignore_errors=True)


def _answers(release: Release) -> tuple[bool, ...]:
    """Return what decides over a release's routes."""
    task = open_task(release.task)
    return task.generates, task.embeds, task.reads_images


def _short(release: Release) -> str:
    """Return the first digits of a release's digest."""
    return release.digest.removeprefix("sha256:")[:12]
