"""MLflow: runs in a local database or on a server, and every release in the model registry."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.build.tracking import Tracking
from framework.core.error_text import first_line
from framework.core.errors import FrameworkError, ReleaseError, StepError
from framework.core.release import built_from

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

    from framework.core.release import Release

_FILE = "sqlite:///"


class MLflow(Tracking):
    """Logs runs, and registers each release as a version of a registered model; needs the extra ``track``.

    MLflow reads a server's credentials from ``MLFLOW_TRACKING_USERNAME`` and ``MLFLOW_TRACKING_PASSWORD``,
    or ``MLFLOW_TRACKING_TOKEN``.
    """

    url: str = "sqlite:///.gitune/mlflow.db"
    """The tracking server's URL, or a database file that needs no server; its path is relative to the
    working directory."""

    def uses(self) -> Mapping[str, str]:
        """Return MLflow's client."""
        return {"mlflow-skinny": "track"}

    def logger(self, run: str) -> "Logger":
        """Return Lightning's ``MLFlowLogger`` for the run with the tag ``gitune.run`` = *run*."""
        from lightning.pytorch.loggers import MLFlowLogger

        client = self._client(StepError)
        try:
            experiment = client.get_experiment_by_name(self.experiment)
            query = f"tags.`gitune.run` = '{run}'"
            runs = experiment and client.search_runs([experiment.experiment_id], query)
            run_id = runs[0].info.run_id if runs else None
            return MLFlowLogger(
                self.experiment,
                run_name=run,
                tracking_uri=self.url,
                tags={"gitune.run": run},
                run_id=run_id,
                artifact_location=None,
            )
        except Exception as error:  # of the database, the network or the server
            raise StepError(f"tracking: {self._describe(error)}") from error

    def register(self, release: "Release") -> None:
        """Create a version of the registered model ``release.name``, unless one has the same digest."""
        client = self._client(ReleaseError)
        try:
            versions = client.search_model_versions(f"name = '{release.name}'")
            if any(version.tags.get("digest") == release.digest for version in versions):
                return
            if not client.search_registered_models(f"name = '{release.name}'"):
                client.create_registered_model(release.name)
            tags = {
                "digest": release.digest,
                "plan": release.plan,
                "recipe": release.recipe,
                "base_model": release.base_model,
                "built_from": built_from(release),
                **({"commit": release.full_commit} if release.commit else {}),
                **{name: f"{value:.6g}" for name, value in release.metrics.items()},
            }
            client.create_model_version(release.name, source=release.model_uri, tags=tags)
        except Exception as error:
            raise ReleaseError(
                f"the release is published, but MLflow's registry failed: {self._describe(error)}"
            ) from error

    def _client(self, kind: type[FrameworkError]) -> Any:
        if self.url.startswith(_FILE):
            Path(self.url.removeprefix(_FILE)).parent.mkdir(parents=True, exist_ok=True)
        try:
            from mlflow import MlflowClient

            return MlflowClient(self.url, self.url)
        except ModuleNotFoundError as error:
            raise kind(
                "tracking: MLflow is not installed; pip install 'gitune[track]', or set tracking=none"
            ) from error
        except Exception as error:
            raise kind(f"tracking: {self._describe(error)}") from error

    def _describe(self, error: Exception) -> str:
        return f"{self.url}: {first_line(error)}; check tracking.url, or set tracking=none"
