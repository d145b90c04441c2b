"""A job: the steps that a worker builds, as JSON for another process or machine.

Steps are identified by their keys. This module does not know where or by which process they are built.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from framework.core.errors import StepError
from framework.core.step import Stage, Step


def write_job(
    steps: Sequence[Step],
    pending: Iterable[Step],
    store: str,
    plugins: Iterable[str],
    machines: int = 1,
    again: Iterable[Step] = (),
) -> str:
    """Return the JSON of a job: every step by key, and the keys to build.

    Args:
        steps: all steps of a plan, inputs first.
        pending: the steps to build, in this order.
        store: the absolute path of the artifact store on the worker's machine.
        plugins: the packages besides ``framework`` that options may come from.
        machines: how many machines share the job; all except the first only join its trainings.
        again: steps to rebuild although the store has them, because their output elsewhere is gone.
    """
    job = {
        "store": store,
        "plugins": list(plugins),
        "machines": machines,
        "total": len(steps),
        "positions": {step.key: number for number, step in enumerate(steps, 1)},
        "pending": [step.key for step in pending],
        "again": [step.key for step in again],
        "steps": [
            {
                "key": step.key,
                "label": step.label,
                "stage": step.stage.dump(),
                "libraries": step.identity()["libraries"],
                "needs": {slot: need.key for slot, need in step.needs.items()},
            }
            for step in steps
        ],
    }
    return json.dumps(job, indent=1, sort_keys=True)


def read_steps(job: dict[str, Any]) -> dict[str, Step]:
    """Return the job's steps by key.

    Raises:
        StepError: a step's key differs from the planned one.
    """
    steps: dict[str, Step] = {}
    context = {"plugins": tuple(job["plugins"])}
    for entry in job["steps"]:
        stage = Stage.model_validate(entry["stage"], context=context)
        step = Step(entry["label"], stage, {slot: steps[key] for slot, key in entry["needs"].items()})
        if step.key != entry["key"]:
            raise StepError(_changed(step, entry["libraries"]))
        steps[step.key] = step
    return steps


def _changed(step: Step, planned: dict[str, str]) -> str:
    installed = step.identity()["libraries"]
    changed = sorted(name for name in planned if installed.get(name) != planned[name])
    if changed:
        name = changed[0]
        here = f"{installed[name]} is installed" if installed.get(name) else "it is not installed"
        return (
            f"{step.label}: planned with {name} {planned[name]}, but {here}; "
            "install the same version in both environments, or rerun the command"
        )
    return f"{step.label}: a file or library has changed since the plan was made; rerun the command"
