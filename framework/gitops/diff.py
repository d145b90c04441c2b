"""``run diff``: what this working folder changes against a base branch, for a person or a pull request."""

from collections.abc import Sequence
from pathlib import Path

from framework.core.errors import ConfigError, FrameworkError, GitError
from framework.core.git import Repository
from framework.core.release import LOCK
from framework.gitops.arguments import choice, read
from framework.gitops.changed import changed_recipes
from framework.gitops.commit import work_tree
from framework.gitops.diff_format import as_markdown, as_text
from framework.gitops.differences import Difference, compared, manifest_diff
from framework.gitops.remote_compose import Answer, Question, answer, ask

_OWN = ("base", "format")


def diff(words: Sequence[str]) -> None:
    """Print config, plan and manifests of recipes against the base.

    Without ``recipe=`` it is about every recipe that was changed since the base.

    Raises:
        FrameworkError: there is no base, or a recipe cannot be planned; that is shown too.
    """
    own = [word for word in words if word.partition("=")[0] in _OWN]
    typed = [word for word in words if word not in own]
    given = read("diff", own, (), {"base": "", "format": "text"})
    form = choice("format", given["format"], ("text", "markdown"))
    repository = Repository.around(Path())
    name, commit = _base(repository, given["base"])
    named = [word.partition("=")[2] for word in typed if word.lstrip("+").startswith("recipe=")]
    if named and (len(named) > 1 or not all(named[0].split(","))):
        raise ConfigError("command line 'recipe=': name recipes once, with commas between: +recipe=a,b")
    rest = tuple(word for word in typed if not word.lstrip("+").startswith("recipe="))
    recipes = named[0].split(",") if named else changed_recipes(commit)
    with work_tree(repository, commit) as tree:
        found = _differences(tree.folder, recipes, rest) if recipes else []
    title = f"{name} at {commit[:12]}"
    print(as_markdown(title, found) if form == "markdown" else as_text(title, found))
    if failed := [each for each in found if each.error]:
        failure = FrameworkError("\n".join(f"+recipe={each.recipe}: {each.error}" for each in failed))
        failure.exit_code = failed[0].exit_code
        raise failure


def _base(repository: Repository, asked: str) -> tuple[str, str]:
    """Return the base's name, and the last commit that HEAD shares with it.

    Raises:
        GitError: there is no such branch.
    """
    names = [asked] if asked else ["origin/HEAD", "origin/main", "main", "master"]
    for name in names:
        found = repository.ask("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        if found:
            return name, repository.ask("merge-base", "HEAD", found) or found
    known = repository.run("for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/remotes").split()
    raise GitError(f"base={asked or names[1]}: no such branch; there are {', '.join(known) or 'none'}")


def _differences(base: Path, recipes: Sequence[str], rest: tuple[str, ...]) -> list[Difference]:
    questions = [Question((f"+recipe={recipe}", *rest), planned=True) for recipe in recipes]
    old, new = ask(base, questions), [answer(question) for question in questions]
    # The manifests of each environment that holds such a release, there or here.
    wanted: list[tuple[int, str, str | None, str | None]] = []
    for index, (before, after) in enumerate(zip(old, new, strict=True)):
        for place in _places(base, before, after):
            texts = [_text(root / place / LOCK) for root in (base, Path())]
            wanted.append((index, place, texts[0], texts[1]))
    diffs: list[dict[str, str]] = [{} for _ in recipes]
    asked_old, asked_new = [], []
    for index, place, before_text, after_text in wanted:
        words = _at(questions[index].words, place)
        asked_old.append(Question(words, before_text))
        asked_new.append(Question(words, after_text))
    rendered_old = ask(base, asked_old) if asked_old else []
    for (index, place, *_), was, question in zip(wanted, rendered_old, asked_new, strict=True):
        now = answer(question)
        label = place.partition("/")[2]
        diffs[index][label] = now.error or manifest_diff(was.files or {}, now.files or {})
    pairs = zip(recipes, old, new, diffs, strict=True)
    return [compared(recipe, before, after, shown) for recipe, before, after, shown in pairs]


def _places(base: Path, old: Answer, new: Answer) -> list[str]:
    """Return the folders of the recipe's release, as ``environments/<environment>/<release>``."""
    if new.error:
        return []
    root, name = new.config["environments"], new.config["name"]
    folders = [folder for tree in (base, Path()) for folder in (tree / root).glob(f"*/{name}/{LOCK}")]
    return sorted({f"{root}/{lock.parts[-3]}/{name}" for lock in folders})


def _at(words: tuple[str, ...], place: str) -> tuple[str, ...]:
    kept = [word for word in words if not word.startswith("environment=")]
    return (*kept, f"environment={place.split('/')[-2]}")


def _text(lock: Path) -> str | None:
    return lock.read_text(encoding="utf-8", errors="replace") if lock.is_file() else None
