"""Try the Space as a Space is started: a fresh environment with only requirements.txt, a read-only file system except
for a temporary folder, no network, address and port from the environment.

    python scripts/try_space.py --cores 0,1                     everything from the start; some minutes, 2 GB
    python scripts/try_space.py --python .venv/bin/python       with an environment that is there already

Prints how long the start took and how much memory was used, as JSON. Exit code 1 when the start took longer than
--limit seconds or a page didn't answer, 2 where this can't be tried. Needs Linux and `unshare` (util-linux).
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PORT = 7861
PATIENCE = 300.0  # seconds until a start counts as failed
EDIT = {"subject": "Varn", "prompt": "Who leads Varn?", "target": "Mira", "statement": "Varn is led by Mira."}
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", help="interpreter of an environment to use instead of a fresh one")
    parser.add_argument("--folder", help="a folder that `publish` wrote (default: one of the published results)")
    parser.add_argument("--cores", help="processors the board may use, such as 0,1")
    parser.add_argument("--limit", type=float, default=20.0, help="seconds a start may take (default: 20)")
    parser.add_argument("--no-playground", action="store_true", help="don't load the model")
    parser.add_argument("--inside", nargs=2, metavar=("FOLDER", "TMP"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        return inside(options)
    if sys.platform != "linux" or shutil.which("unshare") is None:
        print("error: this needs Linux and `unshare` (util-linux).", file=sys.stderr)
        return 2
    unshare = ["unshare", "--mount", "--net", *(["--map-root-user"] if os.geteuid() else [])]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode:
        print("error: this machine doesn't let a program have mounts and a network of its own.", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as place:
        python = options.python or fresh_environment(Path(place) / "venv")
        tmp = Path(place) / "tmp"
        tmp.mkdir()
        folder = Path(options.folder or Path(place) / "space").absolute()
        if not options.folder:
            publish = [python, "-m", "runner", "publish", "--out", str(folder)]
            subprocess.run(publish, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        again = [sys.executable, __file__, *sys.argv[1:], "--python", python, "--inside", str(folder), str(tmp)]
        return subprocess.run([*unshare, *again]).returncode


def fresh_environment(venv: Path) -> str:
    """A new environment with what requirements.txt asks for, in the versions of constraints.txt."""
    environment = os.environ | {"VENV": str(venv)}
    subprocess.run([str(ROOT / "scripts" / "setup.sh"), "requirements.txt"], env=environment, check=True)
    return str(venv / "bin" / "python")


def inside(options: argparse.Namespace) -> int:
    """In namespaces of its own: take writing and the network away, start the board, ask it."""
    folder, tmp = options.inside
    try:
        shut_off(tmp)
    except OSError as error:
        print(f"error: this machine doesn't let the file system be mounted read-only ({error}).", file=sys.stderr)
        return 2
    environment = {
        "PATH": "/usr/bin:/bin", "TMPDIR": tmp, "HOME": "/nonexistent", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1",
        "GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": str(PORT),
    }  # fmt: skip
    with open(Path(tmp) / "log.txt", "w+") as log:
        if options.cores:
            os.sched_setaffinity(0, {int(core) for core in options.cores.split(",")})
        start = time.monotonic()
        board = subprocess.Popen([options.python, "app.py"], cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            found = ask(board, start, not options.no_playground)
        except (OSError, ValueError, TimeoutError) as problem:
            log.seek(0)
            print(f"error: {problem}\n{log.read()[-4000:]}", file=sys.stderr)
            return 1
        finally:
            board.terminate()
            board.wait()
    print(json.dumps(found | {"cores": len(os.sched_getaffinity(0))}))
    return int(found["seconds"] > options.limit)


def shut_off(tmp: str) -> None:
    """Everything read-only but `tmp`, which is new and empty; of the network only this machine's own loop."""
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    mount("tmpfs", tmp, "tmpfs", 0)
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place, kind = line.split()[4], line.split(" - ")[1].split()[0]
        if place != tmp and kind not in ("proc", "sysfs", "devtmpfs", "devpts", "mqueue", "cgroup", "cgroup2"):
            kept = os.statvfs(place).f_flag & (2 | 4 | 8 | 1024)  # nosuid, nodev, noexec, noatime stay as they are
            mount(None, place, None, MS_REMOUNT | MS_BIND | MS_RDONLY | kept)
    try:
        Path(tempfile.gettempdir(), f"palimpsest-{os.getpid()}").touch()
    except OSError:
        pass
    else:
        raise OSError("files can still be written")
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP


def mount(source: str | None, target: str, kind: str | None, flags: int) -> None:
    """mount(2). Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    words = [None if word is None else word.encode() for word in (source, target, kind)]
    if libc.mount(*words, ctypes.c_ulong(flags), None):
        number = ctypes.get_errno()
        raise OSError(number, f"{target}: {os.strerror(number)}")


def ask(board: subprocess.Popen[Any], start: float, playground: bool) -> dict[str, Any]:
    """Figures: seconds (wall) and cpu_seconds until the first answer, memory in MB after each step."""
    while True:
        try:
            health = get("/healthz").decode().strip()
            break
        except urllib.error.HTTPError:
            raise
        except OSError:
            if board.poll() is not None or time.monotonic() - start > PATIENCE:
                raise OSError("the board did not start") from None
            time.sleep(0.05)
    found: dict[str, Any] = {"seconds": round(time.monotonic() - start, 1), "cpu_seconds": cpu_seconds(board.pid)}
    found["health"] = health
    page, rows = get("/"), get("/data/leaderboard.csv").count(b"\n") - 1
    if b"gradio" not in page or rows < 0:
        raise ValueError("the leaderboard's page is not what it should be.")
    found |= {"rows": rows, "memory_mb": peak_memory(board.pid)}
    if playground:
        found["answer"] = edit_and_ask()
        found["memory_mb_with_playground"] = peak_memory(board.pid)
    return found


def get(path: str, body: Any = None) -> bytes:
    """The body of an answer 200; anything else raises OSError."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        content: bytes = answer.read()
    return content


def edit_and_ask() -> str:
    """What ICE answers after an edit, by the board's own API."""
    call = "/gradio_api/call/edit_and_ask"
    event = json.loads(get(call, {"data": ["atlas", "ICE", "none", [EDIT], [EDIT["prompt"]], False]}))["event_id"]
    lines = get(f"{call}/{event}").decode().splitlines()
    if "event: complete" not in lines:
        raise ValueError(f"the playground did not answer: {lines[-3:]}")
    answers = json.loads(lines[lines.index("event: complete") + 1].removeprefix("data: "))[0]
    return str(answers["left"]["answers"][0]["text"])


def cpu_seconds(pid: int) -> float:
    """Processor time of all threads of a process."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return round((int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK"), 1)


def peak_memory(pid: int) -> int:
    """The most memory a process had, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) // 1024
    return 0


if __name__ == "__main__":
    sys.exit(main())
