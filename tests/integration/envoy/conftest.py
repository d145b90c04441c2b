"""A real Envoy in front of small servers, configured from rendered routes.

This module replaces the control plane. It converts a route's retries, timeouts, weights and matches, and a
DestinationRule's outlier detection, to Envoy's static configuration.
"""

import contextlib
import http.client
import json
import subprocess
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen

import pytest

HOST = "tiny.models.example.com"


class Backend:
    """A pod that counts requests and answers with *statuses* in order, then repeats the last one."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = statuses or (200,)
        self.calls = 0
        self.hangs = False
        self.released = threading.Event()
        backend, lock = self, threading.Lock()

        class Answer(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                with lock:
                    backend.calls += 1
                    status = backend.statuses[min(backend.calls, len(backend.statuses)) - 1]
                if backend.hangs:
                    backend.released.wait(60)
                with contextlib.suppress(OSError):  # the proxy closes the connection after a timeout
                    self.send_response(status)
                    self.send_header("content-length", "0")
                    self.end_headers()

            do_POST = do_GET

            def log_message(self, *words: object) -> None:
                """Log nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()


class Proxy:
    """A running Envoy."""

    def __init__(self, port: int, admin: str) -> None:
        self.port, self.admin = port, admin
        self.client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, times: int = 1, method: str = "POST", **headers: str) -> list[int]:
        statuses = []
        for _ in range(times):
            self.client.request(method, "/v1/x", headers={"host": HOST, **headers})
            answer = self.client.getresponse()
            answer.read()
            statuses.append(answer.status)
        return statuses

    def count(self, name: str) -> int:
        lines = urlopen(f"http://{self.admin}/stats?filter={name}", timeout=30).read().decode().splitlines()
        return sum(int(line.rpartition(" ")[2]) for line in lines)


def routes_of(manifests: dict) -> list[dict]:
    """Return the routes in one format for Istio and Gateway API, in matching order."""
    if "VirtualService" in manifests:
        return [
            {
                "match": [_istio_match(m) for m in route.get("match", [{}])],
                "to": {to["destination"]["host"].split(".")[0]: to["weight"] for to in route["route"]},
                "retries": route.get("retries"),
                "timeout": route.get("timeout"),
                "mirror": route.get("mirror"),
            }
            for route in manifests["VirtualService"]["spec"]["http"]
        ]
    rules = []
    policy = manifests.get("BackendTrafficPolicy", {"spec": {}})["spec"]
    for rule in manifests["HTTPRoute"]["spec"]["rules"]:
        timeouts = rule.get("timeouts", {})
        rules.append(
            {
                "match": [
                    {"method": m.get("method"), "headers": m.get("headers", [])} for m in rule["matches"]
                ],
                "to": {ref["name"]: ref["weight"] for ref in rule["backendRefs"]},
                "retries": _retries(policy.get("retry"), timeouts.get("backendRequest")),
                "timeout": timeouts.get("request"),
                "mirror": None,
            }
        )
    # Gateway API tries more specific rules first; all paths are equal here.
    return sorted(rules, key=lambda r: (r["match"][0]["method"] is None, -len(r["match"][0]["headers"])))


def _retries(retry: dict | None, timeout: str | None) -> dict:
    """Return Envoy Gateway's retries as Istio spells them; without a policy there are none."""
    if retry is None:
        return {"perTryTimeout": timeout, "attempts": 0, "retryOn": "5xx"}
    return {
        "perTryTimeout": retry["perRetry"]["timeout"],
        "attempts": retry["numRetries"],
        "retryOn": ",".join(retry["retryOn"]["triggers"]),
        "backoff": retry["perRetry"]["backOff"]["baseInterval"],
    }


def _as_rule(policy: dict) -> dict:
    """Return Envoy Gateway's policy as a DestinationRule."""
    passive, breaker = policy["spec"]["healthCheck"]["passive"], policy["spec"]["circuitBreaker"]
    outlier = {**passive, "consecutive5xxErrors": passive["consecutive5XxErrors"]}
    pool = {
        "http": {"http1MaxPendingRequests": breaker["maxPendingRequests"]},
        "tcp": {"connectTimeout": "10s", "maxConnections": breaker["maxConnections"]},
    }
    balancer = {"simple": "LEAST_REQUEST"}
    return {"trafficPolicy": {"connectionPool": pool, "loadBalancer": balancer, "outlierDetection": outlier}}


def _istio_match(match: dict) -> dict:
    headers = [{"name": n, "value": v["exact"]} for n, v in match.get("headers", {}).items()]
    return {"method": match.get("method", {}).get("exact"), "headers": headers}


def envoy_config(manifests: dict, pods: dict[str, list[Backend]]) -> dict:
    """Return Envoy's static configuration for the rendered routes and the *pods* of each Service."""
    spec = (manifests.get("VirtualService") or manifests["HTTPRoute"])["spec"]
    host = {
        "name": "release",
        "domains": spec.get("hosts") or spec["hostnames"],
        "routes": [_route(route, match) for route in routes_of(manifests) for match in route["match"]],
    }
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3."
        "HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {"virtual_hosts": [host]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                },
            }
        ],
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    anywhere = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    rules = {rule["spec"]["host"].split(".")[0]: rule["spec"] for rule in manifests["DestinationRules"]}
    if "BackendTrafficPolicy" in manifests:  # of the route, so of every Service behind it
        rules = dict.fromkeys(pods, _as_rule(manifests["BackendTrafficPolicy"]))
    return {
        "admin": {"address": anywhere},
        "static_resources": {
            "listeners": [{"name": "in", "address": anywhere, "filter_chains": [chain]}],
            "clusters": [_cluster(name, pods[name], rules.get(name)) for name in pods],
        },
    }


def _route(route: dict, match: dict) -> dict:
    headers = [{"name": h["name"], "string_match": {"exact": h["value"]}} for h in match["headers"]]
    if match["method"]:
        headers.append({"name": ":method", "string_match": {"exact": match["method"]}})
    clusters = [{"name": name, "weight": weight} for name, weight in route["to"].items()]
    action: dict = {"weighted_clusters": {"clusters": clusters}, "timeout": route["timeout"] or "0s"}
    if retries := route["retries"]:
        action["retry_policy"] = {
            "retry_on": retries["retryOn"],
            "num_retries": retries["attempts"],
            "per_try_timeout": retries["perTryTimeout"],
            # As istiod sets it: a retry goes to another pod.
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3."
                        "PreviousHostsPredicate"
                    },
                }
            ],
            "host_selection_retry_max_attempts": 5,
        }
        if "backoff" in retries:
            wait = int(retries["backoff"].removesuffix("ms")) / 1000
            action["retry_policy"]["retry_back_off"] = {"base_interval": f"{wait}s"}
    if mirror := route["mirror"]:
        action["request_mirror_policies"] = [{"cluster": mirror["host"].split(".")[0]}]
    return {"match": {"prefix": "/", "headers": headers}, "route": action}


def _cluster(name: str, backends: list[Backend], rule: dict | None) -> dict:
    points = [
        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": backend.port}}}}
        for backend in backends
    ]
    cluster: dict = {
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": points}]},
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},  # as istiod sets it
    }
    if rule is not None:
        policy, pool = rule["trafficPolicy"], rule["trafficPolicy"]["connectionPool"]
        outlier = policy["outlierDetection"]
        limits = {
            "max_connections": pool["tcp"]["maxConnections"],
            "max_pending_requests": pool["http"]["http1MaxPendingRequests"],
        }
        cluster |= {
            "lb_policy": policy["loadBalancer"]["simple"],
            "connect_timeout": pool["tcp"]["connectTimeout"],
            "circuit_breakers": {"thresholds": [limits]},
            "outlier_detection": {
                "consecutive_5xx": outlier["consecutive5xxErrors"],
                "interval": outlier["interval"],
                "base_ejection_time": outlier["baseEjectionTime"],
                "max_ejection_percent": outlier["maxEjectionPercent"],
            },
        }
    return cluster


@pytest.fixture
def backend():
    backends: list[Backend] = []

    def make(*statuses: int) -> Backend:
        backends.append(Backend(*statuses))
        return backends[-1]

    yield make
    for backend in backends:
        backend.close()


@pytest.fixture
def proxy(tmp_path: Path):
    """Start Envoys on rendered routes; all stop at the end of the test."""
    with contextlib.ExitStack() as stack:

        def start(manifests: dict, pods: dict[str, list[Backend]]) -> Proxy:
            import envoy

            folder = Path(tempfile.mkdtemp(dir=tmp_path))
            file, admin = folder / "envoy.json", folder / "admin"
            file.write_text(json.dumps(envoy_config(manifests, pods)))
            words = ["--use-dynamic-base-id", "--disable-hot-restart", "--concurrency", "1", "-l", "error"]
            command = [str(Path(envoy.__file__).parent / "_bin" / "envoy"), "-c", str(file), *words]
            process = subprocess.Popen([*command, "--admin-address-path", str(admin)])
            stack.callback(lambda: (process.terminate(), process.wait(30)))
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and process.poll() is None:
                with contextlib.suppress(OSError, ValueError, IndexError, KeyError):
                    address = admin.read_text()
                    state = urlopen(f"http://{address}/listeners?format=json", timeout=30).read()
                    listener = json.loads(state)["listener_statuses"][0]
                    proxy = Proxy(listener["local_address"]["socket_address"]["port_value"], address)
                    stack.callback(proxy.client.close)
                    return proxy
                time.sleep(0.02)
            raise AssertionError("Envoy did not start")

        yield start
