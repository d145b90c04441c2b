"""Carry out a verb with a composed config: plan, build, render, serve, report, compare.

Only this module writes outside the store. It never imports torch.
"""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from framework.build.engine.model_folder import read_json
from framework.build.launcher import Built, Work
from framework.config.composition import Composition
from framework.config.load import load
from framework.config.schema import Config
from framework.core import versions
from framework.core.errors import GateError, PlanError, ReleaseError
from framework.core.filesystem import write_whole
from framework.core.gates import unmet
from framework.core.problem import Problem
from framework.core.release import LOCK, Release
from framework.core.store import Store
from framework.delivery.environment import Environment
from framework.plan.build import Plan, make_plan
from framework.plan.rules.architecture import architecture_rules
from framework.plan.rules.install import missing_packages, missing_versions, needed_extras
from framework.render import diff_text, render, write
from framework.run import screens

if TYPE_CHECKING:
    from framework.report.facts import Facts

NO_RECIPE = "(none)"
"""The recipe's name if the command names none."""


@dataclass(frozen=True)
class Call:
    """One validated config, and the command that asked for it."""

    config: Config
    recipe: str
    command: str
    """The command as it was typed, ready to be pasted."""
    overrides: tuple[str, ...] = ()
    """The overrides of this config, without the recipe."""

    @property
    def store(self) -> Store:
        """The artifact store."""
        return Store(Path(self.config.store))

    @property
    def environments(self) -> Path:
        """The folder of the rendered manifests."""
        return Path(self.config.environments)

    def work(self, plan: Plan) -> Work:
        """Return what a launcher needs to know of *plan*."""
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
            machines=layout.nodes,
            processes=layout.processes // layout.nodes,
            gpus=config.environment.hardware.device == "cuda",
            saving_seconds=max(training.grace_seconds for training in trainings),
        )

    def render(self, release: Release) -> dict[str, str]:
        """Return the text of every file of *release* in this config's environment."""
        config = self.config
        return render(release, config.deployment, config.delivery)


def perform(verb: str, composition: Composition, command: str) -> Built | None:
    """Run *verb* with the composed config; return the release if the verb builds one.

    Raises:
        FrameworkError: it cannot be done.
    """
    if verb == "pin":
        from framework.run.pin import pin

        print(pin(str(composition.choices["model"]), composition.config["model"]))
        return None
    call = called(composition, command)
    if verb == "run":
        return build(call)
    actions = {
        "plan": show_plan,
        "render": render_again,
        "serve": serve,
        "report": report,
    }
    actions[verb](call)
    return None


def called(composition: Composition, command: str) -> Call:
    """Return the call of the composed config.

    Raises:
        ConfigError: the config is invalid.
    """
    words = [text.lstrip("+") for text in composition.words]
    own = tuple(word for word in words if not word.startswith("recipe="))
    recipe = str(composition.choices.get("recipe") or NO_RECIPE)
    return Call(load(composition), recipe, command, own)


def build(call: Call) -> Built | None:
    """Build every missing step, render the release and print the result.

    Returns:
        The release with its metrics; None if the launcher only wrote the job.
    """
    plan = _plan(call)
    _require_packages("The plan cannot be built:", missing_packages(call.config))
    for warning in plan.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    run = call.config.launcher.submit(call.work(plan))
    if run is None:
        return None
    run.follow()
    built = run.wait()
    release = built.release
    call.config.tracking.register(release)
    if built.steps:
        _prune_versions(call)
    _require_gates(call.config.environment, release)
    changes = write(call.render(release), call.environments)
    print(screens.summary(call.config, plan, call.store, release, changes, built.steps))
    return built


def _plan(call: Call) -> Plan:
    """Return the plan, checked against the model too if the store has it.

    Raises:
        PlanError: as ``make_plan``; or the tuning method or the export does not support the model.
    """
    plan = make_plan(call.config, call.recipe)
    described = read_json(call.store.folder(plan.step("model")), "config.json")
    if problems := architecture_rules(call.config, described):
        raise PlanError("The plan cannot run:", problems)
    return plan


def _plan_to_find(call: Call) -> Plan:
    """Return the plan of what was built; its keys are wrong without the packages that it was built with.

    Raises:
        PlanError: as ``make_plan``; or such a package is missing.
    """
    plan = make_plan(call.config, call.recipe)
    _require_packages("What was built cannot be found:", missing_versions(call.config))
    return plan


def _require_packages(heading: str, missing: Sequence[Problem]) -> None:
    """Refuse *missing* packages.

    Raises:
        PlanError: there are some; each line has the command that installs one.
    """
    if missing:
        raise PlanError(heading, missing)


def _require_gates(environment: Environment, release: Release) -> None:
    """Refuse a release that a promotion to *environment* would refuse.

    Raises:
        GateError: its metrics miss a bound.
    """
    if missed := unmet(environment.gates, release.metrics):
        raise GateError(
            f"{release.name}: published, but not rendered: it does not pass the gates of {environment.name}: "
            f"{'; '.join(missed)}; train a better one, or build it with environment=dev"
        )


def _prune_versions(call: Call) -> None:
    """Remove old versions from the model store; locks of this folder's environments name those that stay."""
    publish = call.config.publish
    if publish.keep is not None:
        versions.prune(publish.url, call.config.name, publish.keep, versions.needed_by(call.environments))


def show_plan(call: Call) -> None:
    """Print what a run would do; change nothing."""
    plan = _plan(call)
    differences = None
    if call.store.record(plan.last) is not None:
        release = Release.read(call.store.folder(plan.last) / LOCK)
        differences = diff_text(call.render(release), call.environments)
    preview = call.config.launcher.preview(call.work(plan))
    print(screens.plan_table(call.config, plan, call.store, differences, preview))


def show_extras(calls: Sequence[Call]) -> None:
    """Print the extras that building takes, as pip reads them: ``openvino,track``."""
    print(",".join(sorted({extra for call in calls for extra in needed_extras(call.config)})))


def render_again(call: Call) -> None:
    """Render the environment's manifests from its lock."""
    config = call.config
    lock = call.environments / config.environment.name / config.name / LOCK
    print(screens.rendered(config, write(call.render(Release.read(lock)), call.environments)))


def serve(call: Call) -> None:
    """Serve the release of this config until a signal."""
    from framework.server import serve_release

    plan = _plan_to_find(call)
    release = call.config.launcher.find(call.work(plan))
    if release is None:
        raise ReleaseError(
            f"this config is not built; build it first: {call.command.replace(' serve', '', 1)}"
        )
    folder = call.store.root / "served" / release.digest.partition(":")[2]
    serve_release(release, call.config.serving, folder)


def report(call: Call) -> None:
    """Write the report of this config as a page and as text."""
    _write_report([_facts(call, call.recipe, call.command.replace(" report", "", 1))], call)


def compare(calls: Sequence[Call]) -> None:
    """Write one report of several configs.

    Raises:
        ReleaseError: some are not built; one line for each.
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

    plan = _plan_to_find(call)
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
