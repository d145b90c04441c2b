"""Stage ``publish``: push the shipped candidate to the model store and write its release."""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from framework.build.data import SPLITS
from framework.build.data.shards import split_sha256
from framework.build.model import Model
from framework.build.stages.evaluate import METRICS, read_metrics
from framework.core import remote_files, signing, versions
from framework.core.component import UNKEYED, Component
from framework.core.errors import ReleaseError, StepError
from framework.core.filesystem import sha256_of
from framework.core.key_pair import VARIABLE, load_private, read_private
from framework.core.modelstore import push
from framework.core.release import LOCK, Release
from framework.core.step import Stage, Workspace
from framework.core.store import RECORD


class Sign(Component):
    """Signs published models: with a key, made by ``openssl ecparam -genkey``, or as a CI job's identity."""

    key: str | None = None
    """The file of the private key: PEM, an elliptic curve, without a password. None reads ``variable``."""
    variable: str = VARIABLE
    """The environment variable that holds the private key's text, for CI."""
    keyless: bool = False
    """Whether the identity of the CI job signs, by Sigstore, in place of a key; ``docs/ci.md`` says how."""
    trust_config: dict[str, Any] | None = None
    """The client trust config of a private Sigstore instance, as its JSON file has it; None is the public
    instance, whose log anybody can read."""

    @model_validator(mode="after")
    def _one_signer(self) -> "Sign":
        if self.keyless and self.key:
            raise PydanticCustomError("two_signers", "'key' and 'keyless' are both set; keep one of them")
        return self

    def check(self) -> None:
        """Find out whether it can sign, before anything is built.

        Raises:
            ReleaseError: it cannot.
        """
        if self.keyless:
            self._token()
        else:
            load_private(self.private_key())

    def keep(self, release: Release) -> None:
        """Sign the model of *release* beside it, unless its signature is there.

        Raises:
            ReleaseError: it cannot be signed.
            SourceError: the model store cannot be read or written.
        """
        if self.keyless:
            signing.keep_keyless_signature(release, self._token(), self.trust_config)
        else:
            signing.keep_signature(release, self.private_key())

    def private_key(self) -> bytes:
        """Return the private key's PEM text.

        Raises:
            ReleaseError: there is none.
        """
        try:
            key = read_private(self.key, self.variable)
        except ReleaseError as error:
            raise ReleaseError(f"publish.sign.key: {error}") from error
        if key:
            return key
        raise ReleaseError(
            f"publish.sign: {self.key or f'the environment variable {self.variable}'} is empty; set "
            "publish.sign.key=<file>, or the variable to the private key's text"
        )

    def _token(self) -> str:
        from framework.core.keyless import ambient_token

        if token := ambient_token():
            return token
        raise ReleaseError(
            "publish.sign.keyless: this is no CI job, so it has no identity; set publish.sign.key=<file>"
        )


class Publish(Component):
    """Where published models are stored."""

    url: str = "file://.gitune/models"
    """The model store: any URL that fsspec opens; a ``file://`` path may be relative to the folder
    that ``run`` is called in."""
    keep: Annotated[Annotated[int, Field(ge=1)] | None, UNKEYED] = 12
    """How many of a release's newest versions the model store keeps. Publishing removes older ones, except
    those that a lock below ``environments/`` names or named recently, here or on a branch. None keeps all."""

    accept_licenses: Annotated[tuple[str, ...], UNKEYED] = ()
    """Licenses that forbid a use, such as ``[CC-BY-NC-4.0]``, and that this release keeps to. Without them
    the plan stops at what is non-commercial, for research only or without derivatives. The model card has
    them."""

    sign: Annotated[Sign | None, UNKEYED] = None
    """What signs each published model: ``publish.sign.key=<file>``, or ``publish.sign.keyless=true`` in CI;
    None signs nothing."""

    def uses(self) -> Mapping[str, str]:
        """Return the client of the model store, and what signs."""
        return {**remote_files.packages(self.url), **(signing.PACKAGES if self.sign else {})}


class PublishRelease(Stage):
    """Push the candidate under its digest and write ``release.lock``."""

    name: ClassVar[str] = "publish"
    version: ClassVar[int] = 3
    weight_copies: ClassVar[float] = 0.1

    release: str
    """The release's name."""
    recipe: str
    """The recipe it was built from."""
    publish: Publish
    """The model store."""
    model: Model
    """The base model, for the release's origin and license."""
    candidate: str
    """The label of the candidate that is input ``shipped``."""
    engine: str
    """The engine that runs the published model."""
    plan: str
    """The key that covers every step of the plan: 64 hex digits."""

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        """Push input ``shipped``; the release records the metrics and gates of the other inputs.

        It records no origin: other configs and commits may share this step, so the runner adds theirs.

        Raises:
            StepError: a metric is not finite.
            SourceError: the model store cannot be written.
        """
        metrics: dict[str, float] = {}
        gates: dict[str, str] = {}
        for folder in inputs.values():
            if (folder / METRICS).is_file():
                metrics |= read_metrics(folder)
            if (folder / "gates.json").is_file():
                gates |= json.loads((folder / "gates.json").read_text())
        if broken := sorted(name for name, value in metrics.items() if not math.isfinite(value)):
            raise StepError(
                f"publish: {broken[0]} is {metrics[broken[0]]}, not a finite number; lower "
                "training.learning_rate, or evaluate on other rows"
            )
        shipped = inputs["shipped"]
        published = workspace.scratch / "published"
        _copy_without_record(shipped, published)
        uri, digest = push(published, self.publish.url)
        template = shipped / "chat_template.jinja"
        release = Release(
            name=self.release,
            recipe=self.recipe,
            plan=self.plan,
            model_uri=uri,
            digest=digest,
            candidate=self.candidate,
            engine=self.engine,
            task=self.model.task,
            base_model=self.model.origin,
            base_model_license=self.model.license,
            data_digest=_data_digest(inputs),
            chat_template_digest=f"sha256:{sha256_of(template)}" if template.is_file() else None,
            metrics=metrics,
            gates=gates,
            commit=None,
        )
        versions.record(self.publish.url, release)
        (output / LOCK).write_text(release.text(), encoding="utf-8")


def _copy_without_record(folder: Path, copy: Path) -> None:
    """Link the model's files, without the store's record of the artifact."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(RECORD), copy_function=_link)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or no hard links
        shutil.copyfile(source, target)


def _data_digest(inputs: Mapping[str, Path]) -> str:
    """Return the digest of the canonical rows: both splits, phase after phase."""
    folders = [folder for slot, folder in inputs.items() if slot.partition(" ")[0] == "data"]
    splits = [(folder, split) for folder in folders for split in SPLITS]
    lines = "".join(f"{split_sha256(folder, split)}  {split}.jsonl\n" for folder, split in splits)
    return "sha256:" + hashlib.sha256(lines.encode()).hexdigest()
