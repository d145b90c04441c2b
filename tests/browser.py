"""Drive a real headless Chromium by its DevTools protocol."""

import base64
import contextlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websocket
from server_process import eventually

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--remote-debugging-port=0", "--remote-allow-origins=*"),
)


class Browser:
    """One tab. ``requested`` are the URLs that it has asked for, ``complaints`` what its console says."""

    def __init__(self, port: int) -> None:
        targets = httpx.get(f"http://127.0.0.1:{port}/json").json()
        (page,) = [target for target in targets if target["type"] == "page"]
        self._socket = websocket.create_connection(page["webSocketDebuggerUrl"], timeout=60)
        self._number = 0
        self.requested: list[str] = []
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Network", "Log", "DOM", "Accessibility"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol; return its result."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        if message["method"] == "Network.requestWillBeSent":
            self.requested.append(parameters["request"]["url"])
        elif message["method"] == "Log.entryAdded":
            self.complaints.append(parameters["entry"]["text"])
        elif message["method"] == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(parameters["exceptionDetails"]))

    def open(self, url: str) -> None:
        """Open *url* and wait until it is loaded."""
        self.send("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href.startsWith('http')")

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until an expression is true in the page."""
        assert eventually(lambda: self.evaluate(f"Boolean({condition})") is True), (
            f"{condition}: {self.text()}"
        )

    def text(self, selector: str = "body") -> str:
        """Return what can be read in an element."""
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText"))

    def key(self, name: str, text: str = "") -> None:
        """Press a key, such as ``Enter`` with the text ``\\r``."""
        code = {"Enter": 13, "Tab": 9, " ": 32}[name]
        pressed = {"key": name, "windowsVirtualKeyCode": code, "text": text}
        self.send("Input.dispatchKeyEvent", type="keyDown", **pressed)
        self.send("Input.dispatchKeyEvent", type="keyUp", **pressed)

    def type(self, text: str) -> None:
        """Type into the focused field."""
        self.send("Input.insertText", text=text)

    def resize(self, width: int, height: int = 900, *, dark: bool = False) -> None:
        """Set the window's size in CSS pixels, and the color scheme."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **metrics)
        self.send("Emulation.setScrollbarsHidden", hidden=True)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path: Path) -> None:
        """Write a PNG of the whole page."""
        root = "document.documentElement"
        width, height = (self.evaluate(f"{root}.{side}") for side in ("scrollWidth", "scrollHeight"))
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        """Close the tab's socket."""
        self._socket.close()


@contextlib.contextmanager
def chromium() -> Iterator[Callable[[], Browser]]:
    """Run a browser with an empty profile; a call connects to its one tab."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [str(CHROMIUM), *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        ports = Path(profile) / "DevToolsActivePort"
        tabs: list[Browser] = []

        def tab() -> Browser:
            tabs.append(Browser(int(ports.read_text().split()[0])))
            return tabs[-1]

        try:
            assert eventually(lambda: ports.is_file() and "\n" in ports.read_text())
            yield tab
        finally:
            for opened in tabs:
                opened.close()
            process.terminate()
            process.wait(timeout=20)
