"""Starts JupyterLab without a browser, reads its start page, runs the first lesson through its kernel, stops it.

Run by the environment's own Python: `python tools/installer/lab_check.py WORKSPACE START_PAGE`.
"""

import json
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from pathlib import Path

import websocket

WAIT_SECONDS = 60
CELL_SECONDS = 180


class Server:
    """A JupyterLab server on a free port of this machine, stopped by its own process id."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.token = secrets.token_hex(16)
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"]
        command += [f"--ServerApp.root_dir={folder}", f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0"]
        command += [f"--IdentityProvider.token={self.token}", "--ServerApp.log_level=ERROR"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def request(self, path: str, method: str = "GET") -> bytes:
        """What the server answers."""
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, method=method, headers={"Authorization": f"token {self.token}"})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=WAIT_SECONDS) as answer:
            return answer.read()

    def wait(self) -> None:
        """Returns once the server answers."""
        end = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                self.request("/api/status")
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    sys.exit("JupyterLab did not start; run `make doctor`.")
                time.sleep(0.2)

    def stop(self) -> None:
        """Ends the server and, with it, its kernels."""
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def run_notebook(server: Server, path: str) -> int:
    """Runs the notebook's code cells through a kernel of the server; returns how many.

    Raises:
        SystemExit: a cell raised.
    """
    notebook = json.loads(server.request(f"/api/contents/{path}"))["content"]
    kernel = json.loads(server.request("/api/kernels", "POST"))["id"]
    address = f"ws://127.0.0.1:{server.port}/api/kernels/{kernel}/channels?token={server.token}"
    channel = websocket.create_connection(address, timeout=CELL_SECONDS)
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    try:
        for cell in cells:
            if error := execute(channel, "".join(cell["source"])):
                sys.exit(f"{path}, cell {cell.get('id')}: {error}")
    finally:
        channel.close()
        server.request(f"/api/kernels/{kernel}", "DELETE")
    return len(cells)


def execute(channel: websocket.WebSocket, code: str) -> str | None:
    """Runs one cell; returns its error, None where there is none."""
    message_id = uuid.uuid4().hex
    header = {"msg_id": message_id, "msg_type": "execute_request", "username": "", "session": "check", "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
    channel.send(json.dumps(message))
    error = None
    while True:
        frame = channel.recv()
        if isinstance(frame, bytes):
            continue  # a widget's picture; what ends a cell is always text
        answer = json.loads(frame)
        if answer["parent_header"].get("msg_id") != message_id:
            continue
        if answer["msg_type"] == "error":
            error = f"{answer['content']['ename']}: {answer['content']['evalue']}"
        if answer["msg_type"] == "status" and answer["content"]["execution_state"] == "idle":
            return error


def main(folder: str, page: str) -> None:
    began = time.monotonic()
    lang = page.split(".")[-2]
    lesson = sorted(Path(folder).glob(f"*/lesson.{lang}.ipynb"))[0].relative_to(folder).as_posix()
    server = Server(Path(folder))
    try:
        server.wait()
        print(f"JupyterLab answers after {time.monotonic() - began:.1f} s.")
        server.request(f"/lab/tree/{page}")
        cells = json.loads(server.request(f"/api/contents/{page}"))["content"]["cells"]
        print(f"The start page {page} has {len(cells)} cell with the map.")
        began = time.monotonic()
        count = run_notebook(server, lesson)
        print(f"{lesson}: {count} code cells ran in {time.monotonic() - began:.1f} s.")
    finally:
        server.stop()
    print("The server has stopped.")


if __name__ == "__main__":
    main(*sys.argv[1:])
