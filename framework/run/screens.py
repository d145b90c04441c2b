"""Format terminal screens: the plan's table as wide as the terminal, and the summary after a run."""

import json
import shutil
import textwrap
from collections.abc import Iterable

from framework.build.launcher import Built
from framework.build.stages.evaluate import EXAMPLES
from framework.build.task import open_task
from framework.config.schema import REFERENCE, Config
from framework.core.release import LOCK, Release, built_from
from framework.core.step_history import History
from framework.core.store import Store
from framework.plan.bounds import Binding, bare_bindings
from framework.plan.build import Plan
from framework.plan.estimate import data_sizes, estimate
from framework.plan.explain import why_not_cached
from framework.render import Changes

_WIDTH = 80
_LEAST_WHY = 30
"""The narrowest column of reasons."""
_SHOWN = {
    "exact_match": ("exact match", "{:.1%}"),
    "stops": ("ends by itself", "{:.1%}"),
    "perplexity": ("answer perplexity", "{:.2f}"),
    "accuracy": ("accuracy", "{:.1%}"),
    "macro_f1": ("macro F1", "{:.3f}"),
    "agreement": ("agrees with tuned", "{:.1%}"),
    "prefill_tokens_per_second": ("prefill tokens/s", "{:.0f}"),
    "decode_tokens_per_second": ("decode tokens/s", "{:.0f}"),
    "decode_p99_ms": ("decode p99 ms", "{:.1f}"),
    "rows_per_second": ("rows/s", "{:.0f}"),
    "batch_p99_ms": ("batch p99 ms", "{:.1f}"),
}
"""Title and format of the speed metrics, and of metrics whose name is not clear enough."""


def plan_table(
    config: Config,
    plan: Plan,
    store: Store,
    earlier: History,
    differences: str | None,
    elsewhere: str = "",
) -> str:
    """Return the plan: each step, cached or why not, with time and memory.

    Args:
        config: the config.
        plan: its steps.
        store: where they are built.
        earlier: the steps of the recipe's earlier runs.
        differences: a diff of the manifests; None if the release is not built.
        elsewhere: what the launcher starts if the plan is not built on this machine.
    """
    hardware = config.environment.hardware
    sizes = data_sizes(plan.steps, lambda step: store.folder(step) if store.record(step) else None)
    width = max(16, *(len(step.label) for step in plan.steps))
    reasons = {
        step.key: why_not_cached(step, store, earlier) for step in plan.steps if store.record(step) is None
    }
    column = _reason_column(reasons.values(), width)
    lines = [f"{'step':<{width}} {'state':<7} {'why':<{column}} {'time':>8} {'memory':>9}"]
    seconds = 0.0
    for step in plan.steps:
        record = None if step.key in reasons else store.record(step)
        if record:
            state, why = "cached", ""
            time, memory = f"{record['seconds']:.0f} s", _size(record["peak_memory_bytes"])
        else:
            state, why = "run", _fit(reasons[step.key], column)
            expected = estimate(step, config, sizes)
            seconds += expected.seconds
            time, memory = f"~{expected.seconds:.0f} s", f"~{_size(expected.memory)}"
        lines.append(f"{step.label:<{width}} {state:<7} {why:<{column}} {time:>8} {memory:>9}".rstrip())
    cost = seconds / 3600 * hardware.price_per_hour
    priced = f", about {cost:.2f} at {hardware.price_per_hour:g} an hour" if hardware.price_per_hour else ""
    lines += ["", f"On {hardware.device}: about {_duration(seconds)} to run{priced}."]
    lines += [_wrap(_bound_line(config, binding)) for binding in bare_bindings(config)]
    lines += [_wrap(f"warning: {warning}") for warning in plan.warnings]
    lines += _scaling_line(config)
    lines += [_wrap(elsewhere)] if elsewhere else []
    lines.append(_manifest_lines(config, differences))
    return "\n".join(lines)


def _bound_line(config: Config, binding: Binding) -> str:
    """Return which candidates a bare metric binds, and why it does not bind the others."""

    def named(candidates: tuple[str, ...]) -> str:
        return ", ".join(f"{name} (released)" if name == config.shipped else name for name in candidates)

    parts = [
        (binding.candidates, "binds {}"),
        (binding.replaced, "{} by its own bound"),
        (binding.unmeasured, "not measured of {}"),
    ]
    words = "; ".join(text.format(named(candidates)) for candidates, text in parts if candidates)
    return f"gates.{binding.metric} {binding.bound}: {words}"


def _scaling_line(config: Config) -> list[str]:
    """Return what pods with GPUs are scaled on: not on CPU use, which is the default of other pods."""
    target, scaling = config.deployment, config.autoscaling
    if not target.synced or not target.gpus:
        return []
    reason = "the CPU use of a server on GPUs says nothing of its load"
    name = type(scaling).__name__.lower()
    return [_wrap(f"autoscaling={name}: {scaling.follows(target.gpus)}, since {reason}")]


def _wrap(text: str) -> str:
    return textwrap.fill(text, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _manifest_lines(config: Config, differences: str | None) -> str:
    folder = f"{config.environments}/{config.environment.name}/{config.name}"
    if differences is None:
        return _wrap(f"Manifests: {folder}/ is rendered once the release is built.")
    if not differences:
        return f"Manifests: {folder}/ is up to date."
    return f"Manifests: {folder}/ would change:\n\n{brief(differences)}"


def brief(differences: str) -> str:
    """Return a unified diff with one line for each file that is added or removed."""
    lines = differences.splitlines()
    shown, is_one_line = [], False
    for line, after in zip(lines, [*lines[1:], ""], strict=False):
        if line.startswith("--- ") and after.startswith("+++ "):
            added, removed = line == "--- /dev/null", after == "+++ /dev/null"
            is_one_line = added or removed
            shown += [f"new file {after[6:]}" if added else f"removed  {line[6:]}"] if is_one_line else []
        shown += [] if is_one_line else [line]
    return "\n".join(shown)


def _reason_column(reasons: Iterable[str], labels: int) -> int:
    """Return the width of the column of *reasons* beside one of *labels* characters, in this terminal."""
    columns = shutil.get_terminal_size((_WIDTH, 24)).columns
    room = columns - len(f"{'':{labels}} {'':7}  {'':8} {'':9}")
    return max(_LEAST_WHY, min(room, max(map(len, reasons), default=0)))


def _fit(text: str, width: int) -> str:
    """Shorten *text* to the column; its end says more than its beginning."""
    return text if len(text) <= width else f"…{text[1 - width :]}"


def rendered(config: Config, changes: Changes) -> str:
    """Return one line on what rendering changed, and one for each file."""
    folder = f"{config.environments}/{config.environment.name}/{config.name}/"
    if not changes:
        return f"Rendered {folder}: nothing changed."
    names = [
        *(f"  + {name}" for name in changes.added),
        *(f"  ~ {name}" for name in changes.changed),
        *(f"  - {name}" for name in changes.removed),
    ]
    return "\n".join([f"Rendered {folder}:", *names])


def summary(config: Config, plan: Plan, store: Store, built: Built, changes: Changes) -> str:
    """Return the screen after a run: what was built, where it is, from what, and its metrics."""
    release = built.release
    folder = f"{config.environments}/{config.environment.name}/{config.name}"
    changed = len(changes.added) + len(changes.changed) + len(changes.removed)
    return "\n".join(
        [
            *_work(plan, store, built),
            f"  release    {folder}/{LOCK}",
            f"  digest     {release.digest[:19]}… in {_short(release.model_uri, 43)}",
            f"  built from {built_from(release, 12)}",
            f"  manifests  {folder}/ ({changed} files changed)",
            "",
            *_results(config, plan, store, release),
        ]
    )


def job_summary(config: Config, plan: Plan, store: Store, built: Built) -> str:
    """Return the screen after a job of a sweep, whose release is not written yet."""
    digest = f"  digest     {built.release.digest[:19]}… in {_short(built.release.model_uri, 43)}"
    return "\n".join([*_work(plan, store, built), digest, "", *_results(config, plan, store, built.release)])


def _work(plan: Plan, store: Store, built: Built) -> list[str]:
    took = sum((store.record(step) or {}).get("seconds", 0.0) for step in plan.steps)
    work = f"{built.steps} steps built" if built.steps else "nothing to build, everything was cached"
    return ["", f"{built.release.name}: {work} ({len(plan.steps)} steps, {_duration(took)} of work in all)"]


def _results(config: Config, plan: Plan, store: Store, release: Release) -> list[str]:
    return [
        *_numbers(release, config),
        *_forgetting(release, config),
        *(_first_example(plan, store) if open_task(config.model.task).generates else ()),
    ]


def _numbers(release: Release, config: Config) -> list[str]:
    """Return a table with a column for each candidate and a row for each metric, without those of phases."""
    order = ("base", "tuned", *config.candidates)
    candidates = sorted(
        {name.partition(".")[0] for name in release.metrics} - set(config.phases),
        key=lambda name: order.index(name) if name in order else len(order),
    )
    lines = [f"  {'':<20}" + "".join(f"{name:>12}" for name in candidates)]
    for metric, (title, form) in _shown(config).items():
        values = [release.metrics.get(f"{candidate}.{metric}") for candidate in candidates]
        if any(value is not None for value in values):
            cells = "".join(f"{'' if value is None else form.format(value):>12}" for value in values)
            lines.append(f"  {title:<20}{cells}".rstrip())
    sizes = [release.metrics.get(f"{candidate}.size_bytes") for candidate in candidates]
    cells = "".join(f"{'' if size is None else f'{size / 1e6:.1f} MB':>12}" for size in sizes)
    return [*lines, f"  {'size':<20}{cells}".rstrip(), ""]


def _shown(config: Config) -> dict[str, tuple[str, str]]:
    """Return title and format of every metric of the summary: what is evaluated, then speeds."""
    measured = config.evaluation.metrics(config.model.task)
    return {
        name: (name.replace("_", " ").replace("f1", "F1"), "{:.3f}")
        for name in measured
        if name not in _SHOWN
    } | _SHOWN


def _forgetting(release: Release, config: Config) -> list[str]:
    """Return one table per metric: a row for each candidate, a column for each phase's test rows.

    A column shows how a skill changes; the candidate that was just trained for it is marked.
    """
    *earlier, last = config.phases or ("",)
    if not earlier:
        return []
    reduced = [label for label in config.candidates if label != REFERENCE or label == config.shipped]
    candidates = ["base", *earlier, "tuned", *reduced]
    cell = 2 + max(8, *(len(name) for name in config.phases))
    across = (_WIDTH - 22) // cell
    lines = []
    for metric, (title, form) in _shown(config).items():
        for start in range(0, len(config.phases), across):
            columns = list(config.phases)[start : start + across]
            names = [metric if phase == last else f"{phase}_{metric}" for phase in columns]
            if any(f"tuned.{name}" not in release.metrics for name in names):
                continue
            lines.append(f"  {title:<20}" + "".join(f"{phase:>{cell}}" for phase in columns))
            for candidate in candidates:
                trained = last if candidate == "tuned" else candidate
                values = [form.format(release.metrics[f"{candidate}.{name}"]) for name in names]
                cells = (
                    f"*{value}" if phase == trained else value
                    for phase, value in zip(columns, values, strict=True)
                )
                lines.append(f"  {candidate:<20}" + "".join(f"{text:>{cell}}" for text in cells))
    return ["  On each phase's test rows (* right after its training):", *lines, ""] if lines else []


def _first_example(plan: Plan, store: Store) -> list[str]:
    """Return one held-out prompt's expected answer, and the answers of the base and the tuned model."""
    answers = {}
    for candidate in ("base", "tuned"):
        file = store.folder(plan.step(f"evaluate {candidate}")) / EXAMPLES
        # The file does not exist if the candidate was evaluated on another machine.
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        if not lines:
            return []
        answers[candidate] = json.loads(lines[0])
    rows = {
        "wanted": answers["tuned"]["expected"],
        "base": answers["base"]["answer"],
        "tuned": answers["tuned"]["answer"],
    }
    return [*(f"  {name:<8}{_short(' '.join(text.split()), 68)}" for name, text in rows.items()), ""]


def _short(text: str, width: int = 50) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GiB"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
