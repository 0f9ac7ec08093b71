"""A headless Chromium for tests, spoken to over its debugging pipe: no port, no further package.

Messages are JSON objects that end in a zero byte, on the file descriptors 3 and 4 of the browser.
"""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)  # fmt: skip

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe")  # fmt: skip

_LAUNCH = "import os,sys;os.dup2(int(sys.argv[1]),3);os.dup2(int(sys.argv[2]),4);os.execv(sys.argv[3],sys.argv[3:])"  # noqa: E501


class Page:
    """One page of the browser. messages: what the console and the network said meanwhile."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, os.fdopen(answers, "rb")
        self._count, self._rest, self._session = 0, b"", None
        self.messages: list[dict] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        found = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = found["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        """The result of a command of the protocol."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._count:
            self.messages.append(answer)
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        return answer["result"]

    def _read(self):
        while b"\0" not in self._rest:
            data = self._answers.read1()
            if not data:
                raise AssertionError("the browser has gone")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\0")
        return json.loads(line)

    def open(self, path: Path, width=1200, height=900, dark=False, media=""):
        """Load a file and wait until it is there."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 600)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self.messages.clear()
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not any(m.get("method") == "Page.loadEventFired" for m in self.messages):
            self.messages.append(self._read())

    def run(self, script):
        """The value of an expression of JavaScript."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True,
                          awaitPromise=True)  # fmt: skip
        if "exceptionDetails" in found:
            raise AssertionError(found["exceptionDetails"])
        return found["result"].get("value")

    def press(self, key, code):
        """A key, down and up."""
        text = {"Enter": "\r"}.get(key)
        own = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call(
            "Input.dispatchKeyEvent", type="keyDown", **own, **({"text": text} if text else {})
        )
        self.call("Input.dispatchKeyEvent", type="keyUp", **own)

    def faults(self):
        """Errors and warnings of the console since the page was opened, and addresses asked for."""
        self.run("new Promise(done => setTimeout(done, 50))")
        found = []
        for message in self.messages:
            method, params = message.get("method"), message.get("params", {})
            if method == "Runtime.exceptionThrown":
                found.append(params["exceptionDetails"])
            elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
                found.append(params["args"])
            elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                found.append(params["entry"])
        return found

    def asked(self):
        """Every address that the page asked for."""
        return [m["params"]["request"]["url"] for m in self.messages
                if m.get("method") == "Network.requestWillBeSent"]  # fmt: skip

    def screenshot(self, whole=False):
        """The page as PNG; whole: to its end, not only what fits."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        return base64.b64decode(shot["data"])

    def pdf(self):
        """The page as it prints."""
        return base64.b64decode(self.call("Page.printToPDF", preferCSSPageSize=True)["data"])


@contextmanager
def browser(profile: Path):
    """A page of a browser with a fresh profile; the browser ends with the context."""
    ends = [*os.pipe(), *os.pipe()]
    commands, ours_out, ours_in, answers = ends
    # above 4, so that neither is overwritten before it is in its place
    read, write = (fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (commands, answers))
    for end in (read, write):
        os.set_inheritable(end, True)
    process = subprocess.Popen(
        [sys.executable, "-c", _LAUNCH, str(read), str(write), CHROMIUM, *FLAGS,
         f"--user-data-dir={profile}", "about:blank"],
        pass_fds=(read, write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    for end in (read, write, commands, answers):
        os.close(end)
    page = None
    try:
        page = Page(ours_out, ours_in)
        yield page
    finally:
        if page is not None:
            page._session = None
            os.write(ours_out, b'{"id":0,"method":"Browser.close"}\0')
        else:
            process.kill()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(ours_out)
        if page is not None:
            page._answers.close()
