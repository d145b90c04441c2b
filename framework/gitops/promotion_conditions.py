"""Check what an environment asks of a release in the environment before: presence, soak time and metrics."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from framework.core.errors import ConfigError, GateError
from framework.core.git import Repository
from framework.core.release import Release
from framework.delivery.environment.promotion import Promotion, seconds_of
from framework.gitops.history import arrived, rolled_back_in, versions
from framework.gitops.locks import digest_of, lock_path, short_digest
from framework.gitops.metric_source import query_prometheus, read_metrics
from framework.gitops.remote_compose import ComposeResult
from framework.render import APP

_LONGEST_REASON = 200


@dataclass(frozen=True)
class _Condition:
    """One condition, in words."""

    met: bool
    text: str
    advice: str = ""
    """How to meet it."""


@dataclass(frozen=True)
class _Candidate:
    """A release that is to enter an environment."""

    tree: Repository
    environments: str
    release: Release
    start: str | None
    """The environment that it comes from; None for a build."""
    end: str
    promotion: Promotion
    """The conditions of *end*."""
    after: str
    """The environment before *end*."""
    before: Sequence[str]
    """All environments before *end*, the nearest first."""

    @property
    def path(self) -> str:
        """The release's lock in the environment before."""
        return lock_path(self.environments, self.after, self.release.name)


def skip_reason(value: str) -> str:
    """Return *value*, the reason to skip conditions; empty if they are not skipped.

    Raises:
        ConfigError: it is not one line of text.
    """
    if value and not (value.strip() and value.isprintable() and len(value) <= _LONGEST_REASON):
        raise ConfigError(
            f"command line 'skip={value}': give the reason in one line, up to {_LONGEST_REASON} characters"
        )
    return value.strip()


def require_conditions(
    tree: Repository,
    environments: str,
    release: Release,
    start: str | None,
    end: str,
    answer: ComposeResult,
    skip: str,
) -> str:
    """Return the lines of the commit message on the conditions of a promotion.

    Args:
        tree: a checkout of the base branch.
        environments: its folder of rendered manifests.
        release: the release.
        start: the environment that it comes from; None for a build.
        end: the environment that it goes to.
        answer: the config of *end*. A recipe can add conditions to those of the environment's option.
        skip: the reason to promote it although a condition is not met; empty to refuse.

    Raises:
        GateError: names each condition that is not met, and how to meet it.
        GitError: the clone is shallow, so that the soak time is unknown.
    """
    conditions = [
        condition
        for promotion in _promotions(answer)
        if promotion.after
        for condition in _conditions(
            _Candidate(tree, environments, release, start, end, promotion, promotion.after, answer.before)
        )
    ]
    conditions = list(dict.fromkeys(conditions))
    unmet = [condition for condition in conditions if not condition.met]
    problems = "; ".join(condition.text for condition in unmet)
    if unmet and not skip:
        advised = "; ".join(f"{condition.text}{condition.advice}" for condition in unmet)
        raise GateError(f"{release.name}: {advised}; or give a reason to skip this with skip=<reason>")
    lines = [f"{condition.text}.\n" for condition in conditions if condition.met]
    if unmet:
        print(f"warning: skipped ({skip}): {problems}", file=sys.stderr)
        lines += [f"\nSkipped: {skip}\n\n", *(f"- {condition.text}\n" for condition in unmet), "\n"]
    return "".join(lines)


def _promotions(answer: ComposeResult) -> list[Promotion]:
    """Return the conditions of the environment's option and of the recipe: one if they are the same."""
    declared = (answer.promotion, answer.config["environment"].get("promotion"))
    promotions: list[Promotion] = []
    for body in declared:
        promotion = Promotion.model_validate(body or {})
        if promotion not in promotions:
            promotions.append(promotion)
    return promotions


def _conditions(candidate: _Candidate) -> Iterator[_Condition]:
    if absence := _absence(candidate):
        yield absence
        return
    if candidate.promotion.soak:
        yield _soak(candidate, candidate.promotion.soak)
    yield from _measured(candidate)


def _absence(candidate: _Candidate) -> _Condition | None:
    """Return why the release does not come from the environment before; None if it does."""
    release, after, end = candidate.release, candidate.after, candidate.end
    file = candidate.tree.folder / candidate.path
    present = digest_of(file.read_text(encoding="utf-8", errors="replace")) if file.is_file() else ""
    promote = f"run promote release={release.name}"
    if present == release.digest:
        if candidate.start in (after, None):
            return None
        advice = f"; {promote} from={after} to={end}"
        return _Condition(False, f"{end} takes releases from {after}, which has this one", advice)
    state = f"has {short_digest(present)}" if present else "has none"
    if file.is_file() and candidate.tree.ask("rev-parse", "--is-shallow-repository") == "false":
        commit = rolled_back_in(versions(candidate.tree, "HEAD", candidate.path), release.digest)
        state += f" since a rollback in {commit[:12]}" if commit else ""
    missing = f"{end} takes releases from {after}, which {state}, not {short_digest(release.digest)}"
    if candidate.start is None:
        passed = [*reversed(candidate.before)] if after in candidate.before else [after]
        steps = zip(passed, [*passed[1:], end], strict=True)
        advice = f"; build it with environment={passed[0]}"
        advice += "".join(f", then {promote} from={one} to={other}" for one, other in steps)
    else:
        advice = f"; first {promote} from={candidate.start} to={after}"
    return _Condition(False, missing, advice)


def _soak(candidate: _Candidate, soak: str) -> _Condition:
    since = arrived(candidate.tree, versions(candidate.tree, "HEAD", candidate.path))
    ready = since + seconds_of(soak)
    text = f"it is in {candidate.after} since {_date(since)}, {candidate.end} requires {soak}"
    return _Condition(time.time() >= ready, text, f"; promote it after {_date(ready)}")


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _measured(candidate: _Candidate) -> Iterator[_Condition]:
    """Yield whether each metric of the environment before is in its bound."""
    promotion, source = candidate.promotion, candidate.promotion.metrics_from or ""
    for name, bound in sorted(promotion.verify.items()):
        requirement = f"{candidate.end} requires {bound} in {candidate.after}"
        try:
            if promotion.asks_prometheus:
                value = query_prometheus(source, bound.query or "", _names(candidate))
            else:
                value = read_metrics(Path(source), candidate.release.digest)[name]
        except KeyError:
            yield _Condition(False, f"{name} is not in {source}, {requirement}")
        except ValueError as error:
            yield _Condition(False, f"{name} is unknown, {requirement}: {error}")
        else:
            yield _Condition(bound.admits(value), f"{name} is {value:g}, {requirement}")


def _names(candidate: _Candidate) -> dict[str, str]:
    """Return the values of a query's placeholders."""
    app = (candidate.tree.folder / candidate.path).with_name(APP)
    try:
        namespace = str(json.loads(app.read_text(encoding="utf-8"))["namespace"])
    except (OSError, ValueError, KeyError, TypeError):
        namespace = ""
    return {
        "environment": candidate.after,
        "namespace": namespace,
        "release": candidate.release.name,
        "digest": candidate.release.digest,
    }
