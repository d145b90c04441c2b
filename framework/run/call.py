"""One validated config with the command that asked for it, and what verbs derive from both."""

from dataclasses import dataclass
from pathlib import Path

from framework.build.launcher import Work
from framework.config.composition import Composition
from framework.config.load import load
from framework.config.options import GROUP, searchpath
from framework.config.schema import Config
from framework.core.errors import ReleaseError
from framework.core.git import in_history
from framework.core.release import LOCK, NO_RECIPE, Release
from framework.core.store import Store
from framework.plan.build import Plan
from framework.render import render
from framework.run.build_origin import Origin, own_words, read_origin
from framework.run.environment_option import require_own_environment


@dataclass(frozen=True)
class Call:
    """One validated config, and the command that asked for it."""

    config: Config
    composition: Composition
    """What *config* was composed of."""
    command: str
    """The command as it was typed, ready to be pasted; of a sweep, all of it."""

    @property
    def recipe(self) -> str:
        """The recipe's name, or ``(none)``."""
        return str(self.composition.choices.get(GROUP) or NO_RECIPE)

    @property
    def overrides(self) -> tuple[str, ...]:
        """The overrides of this config as typed, without the recipe."""
        return own_words(self.composition)

    @property
    def words(self) -> tuple[str, ...]:
        """The arguments that ask for this config alone, wherever its options are."""
        chosen = () if self.recipe == NO_RECIPE else (f"+{GROUP}={self.recipe}",)
        return (*chosen, *self.overrides, *searchpath())

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

    def origin(self, plan: Plan) -> Origin:
        """Return what *plan* is built from, as the files are now."""
        return read_origin(self.composition, self.config, plan)

    def released(self, release: Release, origin: Origin) -> Release:
        """Return *release* of the store as its lock in the environment will state it.

        The lock that is there stays if it is of the same release, and commits of this history give both. It
        is as true as it was, and a lock that changed with every commit would need a proposal after each.
        """
        new = origin.of(release)
        try:
            old = Release.read(self.lock)
        except ReleaseError:
            return new
        same = old.model_copy(update={"approval": None, "commit": new.commit}) == new
        return old if same and new.given and old.given and in_history(old.full_commit) else new

    @property
    def lock(self) -> Path:
        """The release's lock in its environment."""
        return self.environments / self.config.environment.name / self.config.name / LOCK


def called(composition: Composition, command: str) -> Call:
    """Return the call of the composed config.

    Raises:
        ConfigError: the config is invalid.
    """
    config = load(composition)
    require_own_environment(composition)
    return Call(config, composition, command)
