"""What Hydra composes and calls: one job, or the jobs of a sweep.

A job whose config is wrong is reported beside the others, which run.
"""

import os
import re
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from framework.cli.complete import FLAGS, complete_verb
from framework.config.command_line_choices import Words
from framework.config.composition import Composition
from framework.config.composition_errors import NOT_COMPOSED, as_addition, composition_error
from framework.config.merge_order import ROOT
from framework.config.options import option_file
from framework.config.recipes import register
from framework.config.yaml_source import read_source
from framework.core.errors import ConfigError, FrameworkError, invalid_config
from framework.core.paths import SHARE

if TYPE_CHECKING:
    from framework.build.launcher import Built
    from framework.run.build_release import Sweep
    from framework.run.call import Call

_VERSION = "1.3"
"""Of Hydra's behavior."""
MULTIRUN = {"-m", "--multirun"}
TOGETHER = ("compare", "extras")
"""Verbs with one answer for all configs, however many there are."""
_PRINTS = re.compile(r"(--cfg?|--inf?o?)(=.*)?|-[ci](?![dnp]).*")
"""Flags with which Hydra prints a config, or of what it is made, instead of running it."""


class Application:
    """What Hydra calls with each config that it composed."""

    def __init__(self, verb: str, typed: str) -> None:
        self.verb, self.typed = verb, typed
        self.exit_codes: list[int] = []
        """Of the jobs that failed."""
        self.begun = False
        """Whether a job was called."""
        self.collected: list[Call] = []
        """The calls of a verb with one answer for all."""
        self.sweep: Sweep | None = None
        """Of a sweep that builds: its jobs."""
        self.composing = True
        """Whether an exception comes from Hydra's composition, so that the config is at fault."""

    def __call__(self, config: DictConfig) -> "Built | None":
        """Run the job of *config* and return its release, for a sweeper that reads results."""
        self.composing, self.begun = False, True
        built = self.run_job(Composition.of_hydra(config), HydraConfig.get().mode == RunMode.MULTIRUN)
        self.composing = True
        return built

    def run_job(self, composition: Composition, is_named: bool) -> "Built | None":
        """Run one job, below a line with its words if *is_named* is set; an error is printed and counted."""
        if is_named and self.verb not in TOGETHER:
            _print_words(composition.words)
        built = None
        # Raised through Hydra, an error would be printed twice and would end a sweep at its first job.
        try:
            built = self._perform(composition, is_named)
        except FrameworkError as error:
            self.exit_codes.append(report(error))
            if error.ends_sweep:
                sys.exit(error.exit_code)
        except BrokenPipeError:
            leave_quietly()
        return built

    def finish(self) -> None:
        """Release, or answer for, what was collected; end the process if a job failed."""
        if self.sweep is not None:
            try:
                self.sweep.release()
            except FrameworkError as error:
                self.exit_codes.append(report(error))
        if self.exit_codes:
            sys.exit(max(self.exit_codes))
        if self.collected:
            from framework.run.runner import compare, show_extras

            {"compare": compare, "extras": show_extras}[self.verb](self.collected)

    def _perform(self, composition: Composition, sweeps: bool) -> "Built | None":
        from framework.run.build_release import Sweep
        from framework.run.call import called
        from framework.run.runner import perform

        if self.verb in TOGETHER:
            self.collected.append(called(composition, self.typed))
            return None
        if sweeps and self.sweep is None:
            self.sweep = Sweep()
        return perform(self.verb, composition, self.typed, self.sweep)


def start_hydra(verb: str, words: Sequence[str], typed: str) -> None:
    """Hand over to Hydra, which composes the config (or several) and calls back."""
    # Hydra's own reports end the process with 1 and hide ours; with this it raises instead.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    application = Application(verb, typed)
    if FLAGS & {*words}:
        complete_verb()
        _compose_and_call(application, words)
        return
    sweeps = bool(MULTIRUN & {*words})
    checked = Words.check(words, sweeps)
    if checked.faults:
        _refuse(words, sweeps, checked)
    if checked.dropped:
        application.exit_codes.append(report(checked.raised()))
    try:
        _compose_and_call(application, checked.usable)
    except ConfigError as error:
        if not sweeps or application.begun:
            raise
        _call_each(application, checked.usable, error)
    _refuse_printed_faults(words)
    application.finish()


def sweep_in_process(verb: str, words: Sequence[str], typed: str) -> None:
    """Run *verb*, which builds nothing, for each config of a sweep without Hydra's application.

    Raises:
        ConfigError: none of the configs can be composed.
    """
    from framework.config.compose_config import composed, sweep_jobs

    application = Application(verb, typed)
    checked = Words.check(words, sweeps=True)
    if checked.faults:
        raise checked.raised()
    if checked.dropped:
        application.exit_codes.append(report(checked.raised()))
    jobs = sweep_jobs(checked.usable)
    for job in jobs:
        try:
            composition = composed(job)
        except ConfigError as error:
            if len(jobs) == 1:
                raise
            _print_words(job)
            application.exit_codes.append(report(error))
        else:
            application.run_job(composition, is_named=True)
    application.finish()


def _print_words(words: Sequence[str]) -> None:
    if words:
        print(f"== {' '.join(word.lstrip('+') for word in words)} ==", flush=True)


def _compose_and_call(application: Application, words: Sequence[str]) -> None:
    """Call *application* with each config of *words*.

    Raises:
        ConfigError: one of them cannot be composed.
        FrameworkError: a file cannot be read.
    """
    register()
    changed = words if FLAGS & {*words} else [as_addition(word) for word in words]
    application.composing = True
    GlobalHydra.instance().clear()  # an earlier composition, or the explanation of its error, may have set it
    try:
        if all(map(is_own, words)) and not _sweeps_by_config():
            _run_once(application, [*changed])
        else:
            _run_hydra(application, changed)
    except NOT_COMPOSED as error:
        if not application.composing:
            raise
        raise composition_error(error, words) from None
    except OSError as error:
        if not application.composing or isinstance(error, BrokenPipeError):
            raise
        raise FrameworkError(f"{error.filename}: cannot be used: {error.strerror}") from None


def _run_hydra(application: Application, words: Sequence[str]) -> None:
    """Call *application* as Hydra's own command line does with *words*: flags and overrides."""

    @hydra.main(version_base=_VERSION, config_path=str(SHARE / "conf"), config_name=ROOT)
    def job(config: DictConfig) -> "Built | None":
        return application(config)

    # argparse accepts overrides in one row only; here a flag may be anywhere between them.
    sys.argv[1:] = sorted(words, key=_is_override)
    job()


def _run_once(application: Application, overrides: list[str]) -> None:
    """Call *application* with one config; ``hydra.main`` would compose it twice, to see if it is a sweep."""
    from hydra._internal.hydra import Hydra
    from hydra._internal.utils import create_config_search_path

    hydra.version.setbase(_VERSION)
    try:
        search_path = create_config_search_path(str(SHARE / "conf"))
        Hydra.create_main_hydra2("gitune", search_path).run(ROOT, application, overrides)
    finally:
        GlobalHydra.instance().clear()


def _sweeps_by_config() -> bool:
    """Tell whether a ``config.yaml`` of the working folder makes each command a sweep."""
    file = option_file("", ROOT)
    settings = read_source(file).content().get("hydra") if file else None
    return isinstance(settings, dict) and settings.get("mode") is not None


def _call_each(application: Application, words: Sequence[str], error: ConfigError) -> None:
    """Call *application* with each config of a sweep that can be composed, and report the others.

    Hydra composes all of a sweep first, and ends at the first *error*.
    """
    from framework.config.compose_config import sweep_jobs

    own = [word for word in words if _is_override(word) and not word.startswith("hydra.")]
    jobs = sweep_jobs(own)
    if len(jobs) == 1:
        raise error
    flags = [word for word in words if word not in own and not word.startswith("hydra.sweep.subdir=")]
    for number, job in enumerate(jobs):
        try:
            _compose_and_call(application, [*flags, f"hydra.sweep.subdir={number}", *job])
        except ConfigError as failure:
            _print_words(job)
            application.exit_codes.append(report(failure))


def _refuse(words: Sequence[str], sweeps: bool, checked: Words) -> NoReturn:
    """Raise the faults of the words, with those of the files and the rest of the config."""
    if not sweeps:
        from framework.config.compose_config import composed

        composed([word for word in words if _is_override(word)])
    raise checked.raised()


def _refuse_printed_faults(words: Sequence[str]) -> None:
    """Refuse files whose config ``--cfg`` has printed without their faulty entries.

    Raises:
        ConfigError: they have some.
    """
    if not any(map(_PRINTS.fullmatch, words)):
        return
    from framework.config.compose_config import composed, sweep_jobs

    for job in sweep_jobs([word for word in words if _is_override(word) and not word.startswith("hydra.")]):
        if faults := [*composed(job).faults()]:
            lines = [fault.problem.at(fault.place) for fault in faults]
            raise invalid_config([fault.problem for fault in faults], lines)


def is_own(word: str) -> bool:
    """Tell whether *word* is an override of a recipe's keys, not of Hydra's, nor a flag."""
    return _is_override(word) and not word.lstrip("+").startswith(("hydra.", "hydra/"))


def _is_override(word: str) -> bool:
    return "=" in word and not word.startswith("-")


def leave_quietly() -> NoReturn:
    """End silently: the reader of the output, such as ``head``, has closed it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(128 + signal.SIGPIPE)


def report(error: FrameworkError) -> int:
    """Print *error* and return its exit code."""
    sys.stdout.flush()
    if str(error):  # a worker has already printed its own message
        print(error, file=sys.stderr)
    return error.exit_code
