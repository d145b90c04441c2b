"""Finding the configuration of a cluster."""

import pytest

from framework.core.errors import ClusterError
from framework.manifests.api_connection import ApiConnection, Remedies, is_configured


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Return an empty home folder, without variables that lead to a cluster."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_missing_configuration_names_the_remedy(home):
    assert not is_configured()
    with pytest.raises(ClusterError, match=r"^KUBECONFIG: not set.*; set it$"):
        ApiConnection(None, Remedies(connect="set it"))


def test_kubeconfig_of_an_earlier_environment_is_not_used(home, monkeypatch):
    from kubernetes.config import kube_config

    (home / "stale").write_text("apiVersion: v1\nkind: Config\n")
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(home / "stale"))
    with pytest.raises(ClusterError, match=r"^KUBECONFIG: not set"):
        ApiConnection(None, Remedies())


def test_broken_kubeconfig_is_one_sentence(home):
    (home / ".kube").mkdir()
    (home / ".kube" / "config").write_text("no: config")
    assert is_configured()
    with pytest.raises(ClusterError, match=r"^KUBECONFIG: cannot be used: .*; fix it$"):
        ApiConnection(None, Remedies(connect="fix it"))
