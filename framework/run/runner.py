"""Carry out a verb with a composed config: plan, build, render, serve, report, compare.

What builds and writes releases is in ``framework.run.build_release``. It never imports torch.
"""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from framework.build.launcher import Built
from framework.config.composition import Composition
from framework.core import step_history
from framework.core.errors import ReleaseError
from framework.core.filesystem import write_whole
from framework.core.release import LOCK, Release, built_from
from framework.plan.rules.install import needed_extras
from framework.render import diff_text, write
from framework.run import screens
from framework.run.build_release import Sweep, build, checked_plan, plan_to_find, release_job
from framework.run.call import Call, called
from framework.run.serve_build import serve

if TYPE_CHECKING:
    from framework.report.facts import Facts


def perform(verb: str, composition: Composition, command: str, sweep: Sweep | None = None) -> Built | None:
    """Run *verb* with the composed config; return the release if the verb builds one.

    Args:
        verb: the verb.
        composition: the composed config.
        command: the command as typed.
        sweep: of a sweep, its jobs, which are released at its end.

    Raises:
        FrameworkError: it cannot be done.
    """
    if verb == "pin":
        from framework.run.pin import pin

        print(pin(str(composition.choices["model"]), composition.config["model"]))
        return None
    call = called(composition, command)
    if verb == "run":
        if sweep is not None:
            return sweep.build(call)
        if (job := build(call)) is None:
            return None
        release_job(job)
        return job.built
    actions = {
        "plan": show_plan,
        "render": render_again,
        "serve": serve,
        "report": report,
    }
    actions[verb](call)
    return None


def show_plan(call: Call) -> None:
    """Print what a run would do; change nothing."""
    plan = checked_plan(call)
    differences = None
    if call.store.record(plan.last) is not None:
        release = call.released(Release.read(call.store.folder(plan.last) / LOCK), call.origin(plan))
        differences = diff_text(call.render(release), call.environments)
    preview = call.config.launcher.preview(call.work(plan))
    earlier = step_history.read(call.store.root, step_history.name_of(call.recipe, call.config.name))
    print(screens.plan_table(call.config, plan, call.store, earlier, differences, preview))


def show_extras(calls: Sequence[Call]) -> None:
    """Print the extras that building takes, as pip reads them: ``openvino,track``."""
    print(",".join(sorted({extra for call in calls for extra in needed_extras(call.config)})))


def render_again(call: Call) -> None:
    """Render the environment's manifests from its lock."""
    release = Release.read(call.lock)
    print(screens.rendered(call.config, write(call.render(release), call.environments)))
    print(f"  built from {built_from(release, 12)}")


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
        try:
            facts.append(_facts(call, label, shlex.join(["run", *call.words])))
        except ReleaseError as error:
            unbuilt.append(str(error))
    if unbuilt:
        raise ReleaseError("\n".join(unbuilt))
    typed = [word.lstrip("+") for word in shlex.split(calls[0].command)]
    asked = next((word.partition("=")[2] for word in typed if word.startswith("recipe=")), "")
    _write_report(facts, calls[0], asked)


def _facts(call: Call, label: str, build_it: str) -> "Facts":
    from framework.report.gather import gather

    plan = plan_to_find(call)
    facts = gather(call.config, call.recipe, label, plan, call.store, build_it)
    if facts.release is None:
        return facts
    return replace(facts, release=call.released(facts.release, call.origin(plan)))


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
