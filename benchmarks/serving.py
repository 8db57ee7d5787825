"""The board as a program of its own, for what looks at it in a browser."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def served(database: Path | None) -> Iterator[str]:
    """The address of `python app.py` on the database, started in an empty folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, str(ROOT / "app.py"), "--port", str(port)]
    if database:
        command += ["--db", str(database.resolve())]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("GRADIO_", "PALIMPSEST_"))}
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        address = f"http://127.0.0.1:{port}"
        try:
            for _ in range(600):
                if server.poll() is not None:
                    sys.exit("the board did not start; try `python app.py`")
                try:
                    urllib.request.urlopen(address, timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.2)
            yield address
        finally:
            server.terminate()
            server.wait(timeout=30)
