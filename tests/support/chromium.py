"""A headless Chromium that opens pages and tells what they do, over its debugging pipe: no other package is needed."""

import base64
import itertools
import json
import os
import pathlib
import select
import shutil
import subprocess
import tempfile
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SECONDS = 60  # for an answer


def find_chromium():
    """Its path, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Chromium:
    """`with Chromium() as browser:`; one page at a time. `requests` are the URLs that the page asked for, `complaints`
    its exceptions and errors on the console."""

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory()
        in_child, self._to = os.pipe()
        self._from, out_child = os.pipe()
        words = [find_chromium(), "--headless=new", "--no-sandbox", "--remote-debugging-pipe", "--no-first-run",
                 "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio", "--disable-background-networking",
                 "--disable-component-update", "--autoplay-policy=no-user-gesture-required",
                 f"--user-data-dir={self._folder.name}", "about:blank"]

        def as_it_expects():  # it reads descriptor 3 and writes to 4
            given = os.dup(in_child), os.dup(out_child)
            os.dup2(given[0], 3)
            os.dup2(given[1], 4)

        self._process = subprocess.Popen(
            words, preexec_fn=as_it_expects, pass_fds=(3, 4, in_child, out_child),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(in_child)
        os.close(out_child)
        self._numbers, self._left, self._session = itertools.count(1), b"", None
        self._open_folder = None
        self.requests, self.complaints, self._events = [], [], []
        target = next(one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *error):
        os.close(self._to)  # it ends when nobody speaks to it
        os.close(self._from)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    def _message(self, until):
        while b"\0" not in self._left:
            if not select.select([self._from], [], [], max(0, until - time.monotonic()))[0]:
                raise TimeoutError("Chromium does not answer")
            read = os.read(self._from, 1 << 20)
            if not read:
                raise EOFError("Chromium has ended")
            self._left += read
        line, self._left = self._left.split(b"\0", 1)
        return json.loads(line)

    def _note(self, event):
        parameters, name = event.get("params", {}), event.get("method")
        if name == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif name == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description", details["text"]))
        elif name == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
            self.complaints.append(str([argument.get("value") for argument in parameters["args"]]))
        elif name == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.complaints.append(parameters["entry"]["text"])
        self._events.append(name)

    def call(self, method, **parameters):
        """What a method of the DevTools protocol gives."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + SECONDS
        while True:
            answer = self._message(until)
            if answer.get("id") != number:
                self._note(answer)
                continue
            if "error" in answer:
                raise RuntimeError(f"{method}: {answer['error']}")
            return answer["result"]

    def resize(self, width, height, dark=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def open(self, page):
        """Opens a file, and waits until its scripts have run."""
        self.requests, self.complaints, self._events = [], [], []
        self.call("Page.navigate", url=pathlib.Path(page).resolve().as_uri())
        until = time.monotonic() + SECONDS
        while "Page.loadEventFired" not in self._events:
            self._note(self._message(until))
        self.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def evaluate(self, expression):
        """What JavaScript gives, also of a promise."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"].get("exception", {}).get("description", str(result)))
        return result["result"].get("value")

    def press(self, key, shift=False):
        """A key as KeyboardEvent.key has it."""
        text = {"text": key} if len(key) == 1 else {}
        codes = {"ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35, " ": 32}
        more = {"windowsVirtualKeyCode": codes[key]} if key in codes else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, modifiers=8 * shift, **text, **more)

    def click(self, x, y):
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def move(self, x, y):
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def screenshot(self, path, whole=True):
        data = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        pathlib.Path(path).write_bytes(base64.b64decode(data))
