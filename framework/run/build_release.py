"""Build a config's release and write it to its environment, or to none where the jobs of a sweep disagree."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from framework.build.engine.model_folder import read_json
from framework.build.launcher import Built
from framework.core import step_history, versions
from framework.core.errors import FrameworkError, GateError, PlanError
from framework.core.gates import unmet
from framework.core.problem import Problem
from framework.core.release import Release
from framework.plan.build import Plan, make_plan
from framework.plan.rules.architecture import architecture_rules
from framework.plan.rules.install import missing_packages, missing_versions
from framework.render import write
from framework.report.materials import gather_materials
from framework.run import screens
from framework.run.build_origin import Origin
from framework.run.call import Call
from framework.run.environment_option import environment_option, merged_bounds
from framework.run.keep_evidence import keep_evidence
from framework.run.next_steps import next_steps, not_released


@dataclass(frozen=True)
class Job:
    """A release that is built, and not in its environment yet."""

    call: Call
    plan: Plan
    origin: Origin
    built: Built

    def render(self) -> dict[str, str]:
        """Return the text of every file of the release."""
        return self.call.render(self.built.release)


class Sweep:
    """The jobs of a sweep, which are released at its end, since the names of later jobs decide about it."""

    def __init__(self) -> None:
        self._jobs: dict[Path, list[Job | None]] = {}
        self._calls: dict[Path, list[Call]] = {}

    def build(self, call: Call) -> Built | None:
        """Build the release of *call* and print its numbers; a job that fails counts as one, too.

        Raises:
            FrameworkError: as ``build``.
        """
        folder = call.lock.parent
        jobs = self._jobs.setdefault(folder, [])
        self._calls.setdefault(folder, []).append(call)
        number = len(jobs)
        jobs.append(None)
        jobs[number] = job = build(call)
        if job is None:
            return None
        print(screens.job_summary(call.config, job.plan, call.store, job.built))
        return job.built

    def release(self) -> None:
        """Write each release to its environment, unless several jobs would write the same one differently.

        The last of them would win, and it need not be the best.

        Raises:
            FrameworkError: a folder cannot be written; one line for each.
        """
        failed = []
        for folder, jobs in self._jobs.items():
            try:
                self._release(folder, jobs)
            except FrameworkError as error:
                failed.append(str(error))
        if failed:
            raise FrameworkError("\n".join(failed))

    def _release(self, folder: Path, jobs: Sequence[Job | None]) -> None:
        texts = [job.render() for job in jobs if job is not None]
        if not texts:
            return
        call = self._calls[folder][0]
        if len(texts) == len(jobs) and all(text == texts[0] for text in texts):
            print(screens.rendered(call.config, write(texts[0], call.environments)))
            return
        commands = [shlex.join(["run", *job.call.words]) for job in jobs if job is not None]
        print(not_released(str(folder), len(jobs), commands))


def build(call: Call) -> Job | None:
    """Build every missing step.

    Returns:
        The release with its metrics and origin; None if the launcher only wrote the job.
    """
    plan = checked_plan(call)
    _require_packages("The plan cannot be built:", missing_packages(call.config))
    # Files may change while steps are built.
    origin, materials = call.origin(plan), gather_materials(call.config, plan)
    if (sign := call.config.publish.sign) is not None:
        sign.check()  # a key that cannot be used is found before a training
    for warning in plan.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    run = call.config.launcher.submit(call.work(plan))
    if call.store.root.is_dir():  # a launcher into a cluster builds in another store
        step_history.remember(
            call.store.root, step_history.name_of(call.recipe, call.config.name), plan.steps
        )
    if run is None:
        return None
    run.follow()
    built = run.wait()
    built = replace(built, release=call.released(built.release, origin))
    keep_evidence(built.release, materials)
    if sign is not None:
        sign.keep(built.release)
    call.config.tracking.register(built.release)
    if built.steps:
        _prune_versions(call)
    require_gates(call, built.release)
    return Job(call, plan, origin, built)


def release_job(job: Job) -> None:
    """Write the release of *job* to its environment and print the result."""
    call = job.call
    changes = write(job.render(), call.environments)
    lines = screens.summary(call.config, job.plan, call.store, job.built, changes)
    print(
        "\n".join(
            [
                lines,
                *next_steps(call.config, job.built.release, call.words, bool(changes), job.origin.changed),
            ]
        )
    )


def checked_plan(call: Call) -> Plan:
    """Return the plan, checked against the model too if the store has it.

    Raises:
        PlanError: as ``make_plan``; or the tuning method or the export does not support the model.
    """
    plan = make_plan(call.config, call.recipe)
    described = read_json(call.store.folder(plan.step("model")), "config.json")
    if problems := architecture_rules(call.config, described):
        raise PlanError("The plan cannot run:", problems)
    return plan


def plan_to_find(call: Call) -> Plan:
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


def require_gates(call: Call, release: Release) -> None:
    """Refuse a release that a promotion to its environment would refuse, whatever the recipe loosens.

    Raises:
        GateError: its metrics miss a bound.
    """
    environment = call.config.environment
    option = environment_option(call.composition.choices.get("environment"))
    if missed := unmet(merged_bounds(release, environment.gates, option), release.metrics):
        raise GateError(
            f"{release.name}: published, but not rendered: it does not pass the gates of {environment.name}: "
            f"{'; '.join(missed)}; train a better one, or build it with environment=dev"
        )


def _prune_versions(call: Call) -> None:
    """Remove old versions from the model store; locks of this folder's environments name those that stay."""
    publish = call.config.publish
    if publish.keep is not None:
        versions.prune(publish.url, call.config.name, publish.keep, versions.needed_by(call.environments))
