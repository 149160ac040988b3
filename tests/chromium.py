"""A real browser for tests: headless Chromium, driven over its own debugging protocol."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SECONDS = 30


class Chromium:
    """One window. `dialogs` and `complaints` hold what scripts opened and what the browser refused."""

    def __init__(self, folder: Path) -> None:
        assert PROGRAM is not None
        self.dialogs: list[str] = []
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._number = 0
        self._loaded = 0
        command = [
            PROGRAM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--no-proxy-server",
            "--disable-background-networking",
            "--remote-debugging-port=0",
            f"--user-data-dir={folder}",
            "about:blank",
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        address = folder / "DevToolsActivePort"
        end = time.monotonic() + SECONDS
        while not (address.exists() and address.read_text().count("\n") == 1):
            assert time.monotonic() < end, "Chromium did not start"
            time.sleep(0.05)
        port, path = address.read_text().splitlines()
        self._socket = connect(f"ws://127.0.0.1:{port}{path}", max_size=None, proxy=None)
        target = self._send("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session: str | None = None
        self._session = self._send("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._send(f"{domain}.enable")

    def get(self, address: str) -> None:
        """Open an address and wait until the page is there."""
        before = self._loaded
        self._send("Page.navigate", {"url": address})
        self._wait_for_load(before)

    def click(self, selector: str) -> None:
        """Click the first element that fits, and wait for the page that comes."""
        before = self._loaded
        self.run(f"document.querySelector({json.dumps(selector)}).click()")
        self._wait_for_load(before)

    def fill(self, selector: str, text: str) -> None:
        """Write into a field."""
        self.run(f"document.querySelector({json.dumps(selector)}).value = {json.dumps(text)}")

    def run(self, script: str) -> Any:
        """What a script on the page gives."""
        answer = self._send("Runtime.evaluate", {"expression": script, "returnByValue": True})
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    @property
    def text(self) -> str:
        """What people read on the page."""
        return str(self.run("document.body.innerText"))

    @property
    def address(self) -> str:
        return str(self.run("location.href"))

    def picture(self, target: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """A picture of the whole page in a window of this size."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._send("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]}
        self._send("Emulation.setEmulatedMedia", scheme)
        shot = self._send("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True})
        target.write_bytes(base64.b64decode(shot["data"]))

    def wait(self, seconds: float) -> None:
        """Let the page do what it wants for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._next(left)

    def close(self) -> None:
        """End the browser."""
        self._socket.close()
        self._process.terminate()
        self._process.wait(timeout=SECONDS)

    def _wait_for_load(self, before: int) -> None:
        end = time.monotonic() + SECONDS
        while self._loaded == before:
            assert time.monotonic() < end, "the page did not load"
            self._next(0.5)

    def _send(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": params or {}}
        if getattr(self, "_session", None):
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            answer = self._next(end - time.monotonic())
            if answer is not None and answer.get("id") == number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
        raise AssertionError(f"Chromium did not answer {method}")

    def _next(self, seconds: float) -> dict[str, Any] | None:
        try:
            message: dict[str, Any] = json.loads(self._socket.recv(timeout=max(seconds, 0.001)))
        except TimeoutError:
            return None
        params = message.get("params", {})
        match message.get("method"):
            case "Page.loadEventFired":
                self._loaded += 1
            case "Page.javascriptDialogOpening":
                self.dialogs.append(params["message"])
                closing = {"id": -1, "method": "Page.handleJavaScriptDialog", "params": {"accept": False}}
                self._socket.send(json.dumps({**closing, "sessionId": message["sessionId"]}))
            case "Log.entryAdded":
                self.complaints.append(params["entry"]["text"])
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
        return message
