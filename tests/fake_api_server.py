"""An API server that answers GET requests for the objects that it was given."""

import contextlib
import json
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml
from api_server import applied

from framework.gitops.managed_fields import KINDS, WORKLOADS

ALL = {**KINDS, **WORKLOADS}


class ApiServer(ThreadingHTTPServer):
    """Serves objects by path, those with a label by kind, and the kinds of each API version."""

    def __init__(self):
        self.answers, self.requests, self.refuse = {}, [], 0
        super().__init__(("127.0.0.1", 0), Handler)

    def hold(self, item):
        """Serve *item* as it is after Argo CD applied it; a test may change what this returns."""
        version, kind, meta = item["apiVersion"], item["kind"], item["metadata"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        plural = ALL[kind].plural
        kinds = self.answers.setdefault(root, {"kind": "APIResourceList", "resources": []})
        kinds["resources"] += [{"name": plural, "kind": kind}, {"name": f"{plural}/status", "kind": kind}]
        path = f"{root}/namespaces/{meta['namespace']}/{plural}/{meta['name']}"
        self.answers[path] = applied(item)
        return self.answers[path]

    def answer(self, request):
        path, _, query = request.partition("?")
        self.requests.append(path)
        if not query:
            return self.answers.get(path)
        (key,) = urllib.parse.parse_qs(query)["labelSelector"]
        items = [item for place, item in self.answers.items() if place.rpartition("/")[0] == path]
        return {"items": [item for item in items if key in item["metadata"].get("labels", {})]}


@contextlib.contextmanager
def running(kubeconfig):
    """Run a server until the block ends; write the config that finds it."""
    server = ApiServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "me", "user": {"token": "t"}}],
    }
    kubeconfig.write_text(yaml.safe_dump(config))
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        answer = self.server.answer(self.path)
        code = self.server.refuse or (200 if answer else 404)
        body = json.dumps(answer or {"kind": "Status", "code": code}).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Log nothing."""
