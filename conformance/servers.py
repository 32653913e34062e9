"""The servers that Highwater is compared with: how each is built, below target/bench, and how it is started.

Each is pinned: tusd by peers/go/go.sum, @tus/server by peers/node/package-lock.json, rustus by its own lock file.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).absolute()
BENCH = TARGET / "bench"
PEERS = Path(__file__).resolve().parent / "peers"
VERSIONS = {"tusd": "2.10.0", "@tus/server": "2.4.5", "rustus": "0.5.10"}
SERVERS = ("highwater", *VERSIONS)


@dataclass(frozen=True)
class Limits:
    """What a server is told beside where to listen and to store. `None`: nothing of it."""

    max_size: int | None = None
    expire_after: int | None = None  # seconds


def build(servers: Sequence[str]) -> None:
    """Builds what is not there yet, and Highwater anew."""
    BENCH.mkdir(parents=True, exist_ok=True)
    if "highwater" in servers:
        call(["cargo", "build", "--release", "--locked"], ROOT)
    if "tusd" in servers and not tusd().exists():
        need("go", "tusd is built with Go 1.25.8 or newer")
        part = tusd().with_suffix(".part")
        # `go install module@version` asks for the module's list of versions first, which not every proxy serves.
        call(["go", "build", "-mod=readonly", "-o", str(part), "github.com/tus/tusd/v2/cmd/tusd"], PEERS / "go")
        part.rename(tusd())
    if "@tus/server" in servers and not (node() / "node_modules").exists():
        need("npm", "@tus/server runs on Node.js")
        shutil.copytree(PEERS / "node", node(), dirs_exist_ok=True)
        call(["npm", "ci", "--no-audit", "--no-fund"], node())
    if "rustus" in servers and not rustus().exists():
        install = ["cargo", "install", "rustus", "--version", VERSIONS["rustus"], "--locked", "--features", "hashers", "--root", str(rustus().parents[1])]
        call([*install, "--target-dir", str(BENCH / "rustus-target")], BENCH)
        shutil.rmtree(BENCH / "rustus-target", ignore_errors=True)


def need(command: str, why: str) -> None:
    if not shutil.which(command):
        sys.exit(f"{why}, and {command} is not here: install it, or leave that server out (--servers)")


def tusd() -> Path:
    return BENCH / f"tusd-v{VERSIONS['tusd']}"


def node() -> Path:
    return BENCH / f"tus-server-{VERSIONS['@tus/server']}"


def rustus() -> Path:
    return BENCH / f"rustus-{VERSIONS['rustus']}" / "bin" / "rustus"


def command(server: str, data: Path, port: int, limits: Limits, more: Sequence[str]) -> list[str]:
    size, expire = limits.max_size, limits.expire_after
    match server:
        case "highwater":
            base = [str(TARGET / "release" / "highwater"), "--host", "127.0.0.1", "--port", str(port), "--upload-dir", str(data)]
            base += ["--max-size", str(size or 0)] + ["--expire-after", f"{expire}s"] * (expire is not None)
        case "tusd":  # has no expiration of its own
            base = [str(tusd()), "-host", "127.0.0.1", "-port", str(port), "-upload-dir", str(data)]
            base += ["-max-size", str(size)] * (size is not None)
        case "@tus/server":
            base = ["node", str(node() / "server.mjs"), str(port), str(data), str(size or ""), str(expire or "")]
        case "rustus":  # has no expiration either, nor a maximum of an upload: --max-body-size is of a request
            base = [str(rustus()), "--host", "127.0.0.1", "--port", str(port), "--url", "/files"]
            base += ["--data-dir", str(data / "data"), "--info-dir", str(data / "info")]
            base += ["--max-body-size", str(2**30)]
        case _:
            raise ValueError(server)
    return [*base, *more]


@contextmanager
def started(server: str, directory: Path, limits: Limits, more: Sequence[str] = (), before: Sequence[str] = ()):
    """A server that listens; yields its process id, creation URL and command, and ends that process, no other.

    What is `before` the command has to become the server's process, or to be its parent no longer than it lives.
    """
    data, log = directory / "data", directory / "log"
    data.mkdir()
    port = free_port()
    line = command(server, data, port, limits, more)
    # tusd logs several lines a request.
    with (Path(os.devnull) if server == "tusd" else log).open("wb") as sink:
        process = subprocess.Popen(
            [*before, *line],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            cwd=node() if server == "@tus/server" else directory,
            env={**os.environ, "NO_COLOR": "1"},
        )
    # Killed by somebody else, it must not stay in the list of processes: tusd's lock files would still count as held.
    threading.Thread(target=process.wait, daemon=True).start()
    try:
        deadline = time.monotonic() + 20
        while not listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{server} does not start; its log ends with\n{tail(log)}")
            time.sleep(0.05)
        yield process.pid, f"http://127.0.0.1:{port}/files/", line
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def tail(log: Path) -> str:
    text = log.read_text(errors="replace") if log.exists() else "(none kept)"
    return "\n".join(re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()[-20:])


def call(line: list[str], cwd: Path) -> None:
    say(" ".join(line[:3]) + " …")
    if subprocess.run(line, cwd=cwd, stdout=sys.stderr, check=False).returncode != 0:
        sys.exit(f"failed: {' '.join(line)}")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
