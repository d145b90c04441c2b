"""The hosts of a model store, for network policies that know names."""

from urllib.parse import urlsplit

from framework.core.problem import Problem

_IN_CLUSTER = (".svc", ".cluster.local")


def store_hosts(url: str) -> tuple[str, ...]:
    """Return the hosts that a client of the store at *url* connects to; empty where the URL does not say it.

    ``*`` stands for the region. A bucket whose name has a dot is addressed by path, because a certificate
    for ``*.s3.amazonaws.com`` does not cover it. An endpoint that only the store's Secret names is not known.

    >>> store_hosts("s3://models/tiny")
    ('models.s3.amazonaws.com', 'models.s3.*.amazonaws.com')
    >>> store_hosts("gs://models"), store_hosts("https://models.example.com/x"), store_hosts("abfs://x/y")
    (('storage.googleapis.com', 'oauth2.googleapis.com'), ('models.example.com',), ())
    """
    parts = urlsplit(url)
    if parts.scheme in ("s3", "s3a"):
        bucket = "" if "." in parts.netloc else f"{parts.netloc}."
        return f"{bucket}s3.amazonaws.com", f"{bucket}s3.*.amazonaws.com"
    if parts.scheme in ("gs", "gcs"):
        return "storage.googleapis.com", "oauth2.googleapis.com"
    return (parts.hostname,) if parts.scheme in ("http", "https") and parts.hostname else ()


def host_problems(hosts: tuple[str, ...], url: str) -> list[Problem]:
    """Return why pods could not reach the store at *url* by the names of its *hosts*."""
    anywhere = "environment.network_policies=kubernetes"
    if not hosts:
        reason = f"'{url.partition('://')[0]}://' does not say which hosts its store has"
        overrides = ("deployment.store_hosts=[<domain>]", anywhere)
        return [Problem("deployment.store_hosts", reason, overrides)]
    inside = [host for host in hosts if host.endswith(_IN_CLUSTER) or not {".", ":"} & {*host}]
    if inside:
        reason = f"{inside[0]} is in the cluster, where Cilium's rules for names do not apply"
        return [Problem("environment.network_policies", reason, (anywhere,))]
    return []
