"""What is wrong with a config, as data until it is printed.

Rules, options and the config loader make problems; one function puts them into words. It does not know where
a key was written: ``framework.config.load`` adds the file and line.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and what fixes it."""

    key: str
    """The dotted config key it is about, such as ``training.precision``; empty where it is about none."""
    reason: str
    """Why the value does not work, without the key and without the fix."""
    overrides: tuple[str, ...] = ()
    """Alternatives, each of which fixes it: one or more overrides to set together, as typed on the command
    line, such as ``export=transformers compression=none``. ``<name>`` stands for a value that only the user
    knows."""
    advice: str = ""
    """What to do where no override fixes it: install an extra, choose a smaller model."""

    def __str__(self) -> str:
        return f"{self.key}: {self.sentence}" if self.key else self.sentence

    @property
    def sentence(self) -> str:
        """The problem and its fix in words, without the key."""
        alternatives = [_in_words(override) for override in self.overrides]
        if alternatives:
            alternatives[0] = f"set {alternatives[0]}"
        if self.advice:
            alternatives.append(self.advice)
        return f"{self.reason}; {', or '.join(alternatives)}" if alternatives else self.reason

    def at(self, place: str, names_key: bool = False) -> str:
        """Return this problem in words, after the *place* where its key is written.

        Args:
            place: such as ``recipes/x.yaml:7``.
            names_key: whether *place* names the key already.
        """
        return f"{place}: {self.sentence if names_key else self}"

    def within(self, prefix: str, groups: Collection[str]) -> "Problem":
        """Return this problem with the keys of *groups* moved below *prefix*, such as ``phases.task``.

        The choice of an option becomes a choice for that place:

        >>> problem = Problem("tuning.rank", "too large", ("tuning.rank=8", "tuning=full"))
        >>> problem.within("phases.task", ["tuning"]).overrides
        ('phases.task.tuning.rank=8', 'tuning@phases.task.tuning=full')
        """
        return self._moved(prefix, groups, "{key}@{prefix}.{key}={value}")

    def below(self, prefix: str, fields: Collection[str]) -> "Problem":
        """Return this problem of an option, whose keys begin with its *fields*, with them below *prefix*.

        >>> problem = Problem("layers", "not supported", ("layers=null", "parallelism=ddp"))
        >>> problem.below("compression.distill", ["layers"]).overrides
        ('compression.distill.layers=null', 'parallelism=ddp')
        """
        return self._moved(prefix, fields, "{prefix}.{key}={value}")

    def _moved(self, prefix: str, names: Collection[str], choice: str) -> "Problem":
        def moved(key: str) -> str:
            return f"{prefix}.{key}" if key.partition(".")[0] in names else key

        def moved_word(word: str) -> str:
            key, _, value = word.partition("=")
            if key in names:
                return choice.format(key=key, prefix=prefix, value=value)
            return f"{moved(key)}={value}"

        overrides = (" ".join(map(moved_word, override.split())) for override in self.overrides)
        return replace(self, key=moved(self.key), overrides=tuple(overrides))


def overridden_groups(override: str) -> set[str]:
    """Return the config groups that the words of *override* change.

    >>> sorted(overridden_groups("tuning=lora training.micro_batch_size=1"))
    ['training', 'tuning']
    """
    return {word.partition("=")[0].partition(".")[0] for word in override.split()}


def _in_words(override: str) -> str:
    """Return *override* as it is typed; an option that only a recipe can choose, as its line there."""
    return " ".join(_word_in_words(word) for word in override.split())


def _word_in_words(word: str) -> str:
    key, _, value = word.partition("=")
    return f"'- /{key}: {value}' in 'defaults'" if "@" in key else word
