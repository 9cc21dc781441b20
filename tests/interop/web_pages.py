"""Pages with onnxruntime-web in a real browser, served by this process, which report what they found."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from browser import BROWSER, FLAGS, NONE

EXAMPLE = Path(__file__).parents[2] / "examples" / "browser"
VARIABLE = "GPUBP_ONNXRUNTIME_WEB"
WAIT = 60  # seconds


def runtime() -> Path | None:
    """The folder of npm's onnxruntime-web, where there is one: it is named in the environment, or beside the page."""
    given = os.environ.get(VARIABLE)
    folder = Path(given) if given else EXAMPLE / "node_modules" / "onnxruntime-web"
    return folder if (folder / "dist" / "ort.wasm.min.js").is_file() else None


def why_not() -> str | None:
    """Why pages can't be tried here; None if they can."""
    if BROWSER is None:
        return NONE
    if runtime() is None:
        return f"no onnxruntime-web: npm install it in examples/browser, or name its folder in {VARIABLE}"
    return None


class Handler(SimpleHTTPRequestHandler):
    """Files of a folder; what a page posts is kept in the server's `found`."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript", ".wasm": "application/wasm"}

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()
        self.server.found.append(json.loads(content))  # type: ignore[attr-defined]
        self.server.came.set()  # type: ignore[attr-defined]

    def log_message(self, *_: Any) -> None:
        pass


def found_by(script: str, folder: Path, page: str = "", files: str = "") -> Any:
    """What a script returns that runs in a page of `folder`.

    script: the body of an async function. page: shown in a frame, which the script knows as `frame`. files: more HTML
    before the script. The library is served as node_modules/onnxruntime-web.
    """
    library = folder / "node_modules" / "onnxruntime-web"
    if not library.exists():
        library.parent.mkdir(exist_ok=True)
        library.symlink_to(runtime().resolve())  # type: ignore[union-attr]
    around = f"""<!DOCTYPE html><meta charset="utf-8">{files}
    {f'<iframe id="frame" src="{page}" width="400" height="900"></iframe>' if page else ""}
    <script>
    async function script() {{ const frame = document.getElementById("frame"); {script} }}
    addEventListener("load", () => script().catch(e => ({{error: String(e)}}))
      .then(found => fetch("found", {{method: "POST", body: JSON.stringify(found)}})));
    </script>"""
    (folder / "around.html").write_text(around, encoding="utf-8")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    server.found, server.came = [], threading.Event()  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}/around.html"
    command = [str(BROWSER), *FLAGS, f"--user-data-dir={folder / 'profile'}", address]
    try:
        with (folder / "browser.log").open("wb") as log:
            running = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            came = server.came.wait(WAIT)  # type: ignore[attr-defined]
        finally:
            running.terminate()
            running.wait(timeout=30)
    finally:
        server.shutdown()
        server.server_close()
    assert came, (folder / "browser.log").read_text(errors="replace")[-2000:]
    found = server.found[0]  # type: ignore[attr-defined]
    assert not (isinstance(found, dict) and "error" in found), found["error"]
    return found
