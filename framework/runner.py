"""What each verb does with a composed config: the only part that writes outside the store.

The runner plans, starts the worker for what is missing, and renders what was released. It never
imports torch.
"""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NoReturn

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from framework import screens
from framework.config.load import load
from framework.config.provenance import typed_overrides
from framework.config.schema import Config
from framework.core.errors import FrameworkError, ReleaseError, StepError, StoreError
from framework.core.files import write_whole
from framework.core.job import write_job
from framework.core.modelstore import is_lost
from framework.core.release import LOCK, Release
from framework.core.step import Step
from framework.core.store import Store
from framework.plan import Plan, make_plan
from framework.stages.render import diff_text, render, write

if TYPE_CHECKING:
    from framework.report.facts import Facts

NO_RECIPE = "(none)"
"""What stands for the recipe where none is named."""
_GRACE = 10.0
"""Seconds that a worker has to end by itself after SIGTERM, and training besides to save itself."""


class Interrupted(FrameworkError):
    """The user or the system asked the runner to stop."""

    ends_sweep: ClassVar[bool] = True

    def __init__(self, number: int, command: str) -> None:
        self.exit_code = 128 + number
        super().__init__(
            f"Stopped by {signal.Signals(number).name}; nothing half-made was kept. "
            f"The same command goes on from here:\n  {command}"
        )


@dataclass(frozen=True)
class Call:
    """One validated config and how it was asked for."""

    config: Config
    recipe: str
    command: str
    """The command as it was typed, ready to be pasted."""
    overrides: tuple[str, ...] = ()
    """Those of this config alone, the recipe left out."""

    @property
    def store(self) -> Store:
        """The artifacts' store."""
        return Store(Path(self.config.store))

    @property
    def environments(self) -> Path:
        """The folder of the rendered manifests."""
        return Path(self.config.environments)

    def render(self, release: Release) -> dict[str, str]:
        """Return the text of every file of *release* in this config's environment."""
        config = self.config
        return render(release, config.deployment, config.delivery)


def perform(verb: str, composed: DictConfig, command: str) -> None:
    """Do what *verb* asks with the config that Hydra composed.

    Raises:
        FrameworkError: whatever keeps it from being done.
    """
    if verb == "pin":
        from framework.pin import pin

        choices = HydraConfig.get().runtime.choices
        print(pin(str(choices["model"]), composed.model))
        return
    actions = {
        "run": build,
        "plan": show_plan,
        "render": render_again,
        "serve": serve,
        "report": report,
    }
    actions[verb](called(composed, command))


def called(composed: DictConfig, command: str) -> Call:
    """Return the call of the config that Hydra composed.

    Raises:
        ConfigError: the config is invalid.
    """
    choices = HydraConfig.get().runtime.choices
    words = [text.lstrip("+") for text in typed_overrides()]
    own = tuple(word for word in words if not word.startswith("recipe="))
    return Call(load(composed), str(choices.get("recipe") or NO_RECIPE), command, own)


def build(call: Call) -> None:
    """Build every step that is missing, render the release and show what came out."""
    plan = make_plan(call.config, call.recipe)
    for warning in plan.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    _forget_lost_model(plan, call.store)
    pending = missing(plan, call.store)
    if pending:
        _work(call, plan, pending)
    release = Release.read(call.store.folder(plan.last) / LOCK)
    call.config.tracking.register(release)
    changes = write(call.render(release), call.environments)
    print(screens.summary(call.config, plan, call.store, release, changes, len(pending)))


def _forget_lost_model(plan: Plan, store: Store) -> None:
    """Let the release be published again if its model has left the model store."""
    if store.record(plan.last) is None:
        return
    release = Release.read(store.folder(plan.last) / LOCK)
    if is_lost(release.model_uri):
        print(f"warning: {release.model_uri} is gone; publishing it again", file=sys.stderr)
        store.forget(plan.last)


def missing(plan: Plan, store: Store) -> list[Step]:
    """Return the steps that are not in the store, inputs first."""
    return [step for step in plan.steps if store.record(step) is None]


def show_plan(call: Call) -> None:
    """Print what a run would do, and change nothing."""
    plan = make_plan(call.config, call.recipe)
    differences = None
    if call.store.record(plan.last) is not None:
        release = Release.read(call.store.folder(plan.last) / LOCK)
        differences = diff_text(call.render(release), call.environments)
    print(screens.plan_table(call.config, plan, call.store, differences))


def render_again(call: Call) -> None:
    """Render the environment's manifests from the lock that lies there."""
    config = call.config
    lock = call.environments / config.environment.name / config.name / LOCK
    print(screens.rendered(config, write(call.render(Release.read(lock)), call.environments)))


def serve(call: Call) -> None:
    """Serve the release of this very config until a signal."""
    from framework.server import serve_release

    plan, store = make_plan(call.config, call.recipe), call.store
    if store.record(plan.last) is None:
        raise ReleaseError(
            f"this config is not built yet; build it first: {call.command.replace(' serve', '', 1)}"
        )
    release = Release.read(store.folder(plan.last) / LOCK)
    serve_release(release, call.config.serving, store.root / "served" / release.digest.partition(":")[2])


def report(call: Call) -> None:
    """Write page and text on what this config made."""
    _write_report([_facts(call, call.recipe, call.command.replace(" report", "", 1))], call)


def compare(calls: Sequence[Call]) -> None:
    """Write one page and text on what several configs made.

    Raises:
        ReleaseError: some of them are not built; a line for each.
    """
    shared = set.intersection(*({*call.overrides} for call in calls))
    recipes = {call.recipe for call in calls}
    ends = [recipe.rpartition("/")[2] for recipe in recipes]
    facts, unbuilt = [], []
    for call in calls:
        own = [word for word in call.overrides if word not in shared]
        end = call.recipe.rpartition("/")[2]
        name = end if ends.count(end) == 1 else call.recipe
        label = " ".join([name, *own] if len(recipes) > 1 else own) or name
        chosen = [f"+recipe={call.recipe}"] if call.recipe != NO_RECIPE else []
        words = shlex.join(["run", *chosen, *call.overrides])
        try:
            facts.append(_facts(call, label, words))
        except ReleaseError as error:
            unbuilt.append(str(error))
    if unbuilt:
        raise ReleaseError("\n".join(unbuilt))
    typed = [word.lstrip("+") for word in shlex.split(calls[0].command)]
    asked = next((word.partition("=")[2] for word in typed if word.startswith("recipe=")), "")
    _write_report(facts, calls[0], asked)


def _facts(call: Call, label: str, build_it: str) -> "Facts":
    from framework.report.facts import gather

    plan = make_plan(call.config, call.recipe)
    return gather(call.config, call.recipe, label, plan, call.store, build_it)


def _write_report(facts: "Sequence[Facts]", call: Call, asked: str = "") -> None:
    from framework.report.markdown import markdown
    from framework.report.page import file_name, page

    folder = Path(call.config.reports)
    for ending, text in (("html", page(facts)), ("md", markdown(facts))):
        file = folder / f"{file_name(facts, asked)}.{ending}"
        try:
            write_whole(file, text)
        except OSError as error:
            raise ReleaseError(
                f"{file}: cannot be written: {error.strerror}; set reports=<another folder>"
            ) from error
        print(file)


def _work(call: Call, plan: Plan, pending: list[Step]) -> None:
    """Run the worker until everything pending is built; stop it when we are stopped."""
    store = call.store
    job = store.root / "jobs" / f"{plan.last.key}-{os.getpid()}.json"  # another runner may plan the same
    try:
        write_whole(job, write_job(plan.steps, pending, str(store.root.resolve()), call.config.plugins))
        store.sweep()
    except OSError as error:
        raise StoreError(
            f"{store.root}: cannot be written: {error.strerror}; "
            "free space or check permissions there, or set store=<another folder>"
        ) from error

    def stop(number: int, frame: object) -> NoReturn:
        raise Interrupted(number, call.command)

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    command = [sys.executable, "-P", "-m", "framework.worker", str(job)]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        code = worker.wait()
    except Interrupted:
        for number in previous:
            signal.signal(number, signal.SIG_IGN)  # to the end: we are on our way out
        _end(worker, _GRACE + _saving_seconds(call.config))
        raise
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)  # what the worker started and did not end
        job.unlink(missing_ok=True)
        store.sweep()
    for number, handler in previous.items():
        signal.signal(number, handler)
    if code:
        _explain(code, call.command)


def _saving_seconds(config: Config) -> float:
    """Return what training may take to finish its step and save, in whichever phase it is."""
    trainings = [config.training, *(phase.training for phase in config.phases.values())]
    return max(training.grace_seconds for training in trainings)


def _end(worker: "subprocess.Popen[bytes]", grace: float) -> None:
    """End the worker: as it likes, and after *grace* seconds as it does not."""
    worker.terminate()
    try:
        worker.wait(grace)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()


def _explain(code: int, command: str) -> NoReturn:
    """Pass on why the worker ended."""
    if code > 0:
        failure = StepError()  # the worker has said what went wrong, on our own standard error
        failure.exit_code = code
        raise failure
    name = signal.Signals(-code).name
    reason = "; the system ends what takes too much memory" if -code == signal.SIGKILL else ""
    raise StepError(
        f"The worker was ended by {name}{reason}. The same command goes on from here:\n  {command}\n"
        "If it happens again, set training.micro_batch_size=1 or a smaller model=<option>."
    )
