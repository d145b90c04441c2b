"""What each verb does with a composed config: the only part that writes outside the store.

The runner plans, starts the worker for what is missing, and renders what was released. It never
imports torch.
"""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from framework.build.launcher import Work
from framework.build.stages.publish import source_commit
from framework.config.load import load
from framework.config.provenance import typed_overrides
from framework.config.schema import Config
from framework.core import versions
from framework.core.errors import GateError, ReleaseError
from framework.core.filesystem import write_whole
from framework.core.gates import unmet
from framework.core.release import LOCK, Release
from framework.core.store import Store
from framework.delivery.environment import Environment
from framework.plan.build import Plan, make_plan
from framework.render import diff_text, render, write
from framework.run import screens

if TYPE_CHECKING:
    from framework.report.facts import Facts

NO_RECIPE = "(none)"
"""What stands for the recipe where none is named."""


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

    def work(self, plan: Plan) -> Work:
        """Return what the launcher is told of *plan*."""
        config, layout = self.config, self.config.parallelism
        trainings = [config.training, *(phase.training for phase in config.phases.values())]
        return Work(
            name=config.name,
            recipe=self.recipe,
            command=self.command,
            steps=plan.steps,
            plan=plan.key,
            store=self.store,
            url=config.publish.url,
            plugins=config.plugins,
            commit=None if config.launcher.here else source_commit(),
            machines=layout.nodes,
            processes=layout.processes // layout.nodes,
            gpus=config.environment.hardware.device == "cuda",
            saving_seconds=max(training.grace_seconds for training in trainings),
        )

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
        from framework.run.pin import pin

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
    plan = planned(call)
    for warning in plan.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    built = call.config.launcher.build(call.work(plan))
    if built is None:
        return
    release = built.release
    call.config.tracking.register(release)
    _require_gates(call.config.environment, release)
    changes = write(call.render(release), call.environments)
    if not call.config.launcher.here:
        _forget_old_versions(call)
    print(screens.summary(call.config, plan, call.store, release, changes, built.steps))


def _require_gates(environment: Environment, release: Release) -> None:
    """Keep a release out of an environment that a promotion would keep it out of.

    Raises:
        GateError: its metrics miss a bound.
    """
    if missed := unmet(environment.gates, release.metrics):
        raise GateError(
            f"{release.name}: published, but not rendered: it does not pass the gates of {environment.name}: "
            f"{'; '.join(missed)}; train a better one, or build it with environment=dev"
        )


def planned(call: Call) -> Plan:
    """Return the plan of a call, fit for where it is built.

    Raises:
        PlanError: it cannot run.
    """
    config = call.config
    if not config.launcher.here:
        # Which versions must stay, the environments of this folder say, and only here are they to be seen.
        config = config.model_copy(update={"publish": config.publish.model_copy(update={"keep": None})})
    return make_plan(config, call.recipe)


def _forget_old_versions(call: Call) -> None:
    publish = call.config.publish
    if publish.keep is not None:
        versions.prune(publish.url, call.config.name, publish.keep, versions.needed_by(call.environments))


def show_plan(call: Call) -> None:
    """Print what a run would do, and change nothing."""
    plan = planned(call)
    differences = None
    if call.store.record(plan.last) is not None:
        release = Release.read(call.store.folder(plan.last) / LOCK)
        differences = diff_text(call.render(release), call.environments)
    elsewhere = call.config.launcher.preview(call.work(plan))
    print(screens.plan_table(call.config, plan, call.store, differences, elsewhere))


def render_again(call: Call) -> None:
    """Render the environment's manifests from the lock that lies there."""
    config = call.config
    lock = call.environments / config.environment.name / config.name / LOCK
    print(screens.rendered(config, write(call.render(Release.read(lock)), call.environments)))


def serve(call: Call) -> None:
    """Serve the release of this very config until a signal."""
    from framework.server import serve_release

    plan = planned(call)
    release = call.config.launcher.find(call.work(plan))
    if release is None:
        raise ReleaseError(
            f"this config is not built yet; build it first: {call.command.replace(' serve', '', 1)}"
        )
    folder = call.store.root / "served" / release.digest.partition(":")[2]
    serve_release(release, call.config.serving, folder)


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
    from framework.report.gather import gather

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
