#!/usr/bin/env python3
"""Takes jobs that Highwater hands on from their Redis streams, the most urgent first, and transcribes them.

usage: worker.py [--redis HOST:PORT] [--prefix PREFIX] [--group NAME] [--consumer NAME] [--out DIR]
                 [--retry-after SECONDS] [--tries N] [--until-idle SECONDS] [-- COMMAND...]

Each COMMAND is run with the path of the file in place of `{}`, and what it writes to its standard output is the transcript:

    worker.py -- whisper-cli --no-prints --model ggml-base.bin --file {}

Without a COMMAND the "transcript" is what can be told of the file: of a WAV its duration, channels and rate, of anything else
what ffprobe says, where it is installed.

A job is done when its transcript is in DIR, as `<upload id>.json`; only then is it acknowledged. One that a worker did not
finish, because it failed or was killed, is taken by another one after --retry-after seconds, and goes to the stream PREFIX:dead
after so many --tries. A job that comes twice has the same key twice, and is transcribed once.

Only Python's own library is needed. Redis 6.2 or newer.
"""

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

PRIORITIES = ["high", "normal", "low"]


class Redis:
    """As much of a client as is needed here: a word list goes out, a reply comes back."""

    def __init__(self, address):
        host, _, port = address.rpartition(":")
        self.lines = socket.create_connection((host or "127.0.0.1", int(port))).makefile("rwb")

    def __call__(self, *words):
        words = [str(word).encode() for word in words]
        self.lines.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
        self.lines.flush()
        reply = self.reply()
        if isinstance(reply, RedisError):
            raise reply
        return reply

    def reply(self):
        line = self.lines.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("Redis has closed the connection")
        kind, rest = line[:1], line[1:-2].decode()
        if kind == b"-":
            return RedisError(rest)
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == "-1" else self.lines.read(int(rest) + 2)[:-2].decode()
        if kind == b"*":
            return None if rest == "-1" else [self.reply() for _ in range(int(rest))]
        return rest


class RedisError(Exception):
    pass


class Failed(Exception):
    """This job, this time."""


def facts(path):
    """What can be told of a file without a model."""
    with contextlib.suppress(wave.Error, EOFError), wave.open(str(path)) as sound:
        rate, frames = sound.getframerate(), sound.getnframes()
        return {"seconds": frames / rate, "channels": sound.getnchannels(), "rate": rate}
    if shutil.which("ffprobe"):
        asked = ["ffprobe", "-v", "error", "-show_format", "-of", "json", str(path)]
        told = subprocess.run(asked, capture_output=True, text=True)
        if told.returncode == 0:
            return json.loads(told.stdout)["format"]
    return {"bytes": path.stat().st_size}


def transcribe(path, command):
    if not command:
        return facts(path)
    words = [word.replace("{}", str(path)) for word in command]
    ended = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if ended.returncode != 0:
        raise Failed(f"{words[0]} ended with {ended.returncode}: {ended.stderr.strip()[-500:]}")
    return ended.stdout


@contextlib.contextmanager
def file_of(job):
    """The upload's bytes as one file: its own, or, with --assemble off, one put together for as long as it is needed."""
    if job["path"]:
        yield Path(job["path"])
        return
    with tempfile.NamedTemporaryFile() as whole:
        for segment in job["segments"]:
            with open(segment["path"], "rb") as part:
                part.seek(segment["start"])
                left = segment["length"]
                while left > 0 and (piece := part.read(min(left, 1 << 20))):
                    whole.write(piece)
                    left -= len(piece)
        whole.flush()
        yield Path(whole.name)


def check(path, job):
    """That the bytes are those that were uploaded, as far as the job tells that."""
    if path.stat().st_size != job["size"]:
        raise Failed(f"{path} has {path.stat().st_size} bytes instead of {job['size']}")
    if job["sha256"]:
        with path.open("rb") as file:
            found = hashlib.sha256()
            while piece := file.read(1 << 20):
                found.update(piece)
        if found.hexdigest() != job["sha256"]:
            raise Failed(f"{path} is not what was uploaded")


class Worker:
    def __init__(self, options):
        self.options = options
        self.redis = Redis(options.redis)
        self.streams = [f"{options.prefix}:{priority}" for priority in PRIORITIES]
        for stream in self.streams:
            try:
                self.redis("XGROUP", "CREATE", stream, options.group, "0", "MKSTREAM")
            except RedisError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise

    def next(self):
        """The most urgent entry: one that a worker has left lying, or a new one; waits a second for one to come."""
        own = [self.options.group, self.options.consumer]
        for stream in self.streams:
            idle = int(self.options.retry_after * 1000)
            left = self.redis("XAUTOCLAIM", stream, *own, idle, "0", "COUNT", 1)[1]
            if left := [entry for entry in left if entry and entry[1]]:
                return stream, left[0]
            new = self.redis("XREADGROUP", "GROUP", *own, "COUNT", 1, "STREAMS", stream, ">")
            if new:
                return stream, new[0][1][0]
        time.sleep(0.2)
        return None

    def work(self, stream, number, fields):
        fields = dict(zip(fields[::2], fields[1::2]))
        tries = self.redis("XPENDING", stream, self.options.group, number, number, 1)[0][3]
        try:
            job = json.loads(fields["job"])
            self.do(job)
        except (Failed, OSError, KeyError, ValueError) as error:
            print(f"{fields.get('key')}: try {tries}: {error}", file=sys.stderr, flush=True)
            if tries < self.options.tries:
                return
            dead = [word for pair in fields.items() for word in pair]
            self.redis("XADD", f"{self.options.prefix}:dead", "*", *dead, "error", error)
        self.redis("XACK", stream, self.options.group, number)
        # Streams keep what was acknowledged. Where another group reads them too, leave this to XTRIM.
        self.redis("XDEL", stream, number)

    def do(self, job):
        done = self.options.out / (job["id"].replace("/", "%2F") + ".json")
        if done.exists() and json.loads(done.read_text())["key"] == job["key"]:
            return
        with file_of(job) as path:
            check(path, job)
            transcript = transcribe(path, self.options.command)
        result = {
            "key": job["key"],
            "file": job["metadata"].get("filename"),
            "priority": job["priority"],
            "transcript": transcript,
        }
        # Whole or not at all.
        part = done.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n")
        part.rename(done)
        print(f"{job['key']}: {done}", flush=True)

    def run(self):
        last = time.monotonic()
        while self.options.until_idle is None or time.monotonic() - last < self.options.until_idle:
            found = self.next()
            if found:
                stream, (number, fields) = found
                self.work(stream, number, fields)
                last = time.monotonic()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--redis", default="127.0.0.1:6379", metavar="HOST:PORT")
    parser.add_argument("--prefix", default="highwater:jobs")
    parser.add_argument("--group", default="transcription")
    parser.add_argument("--consumer", default=f"{socket.gethostname()}-{os.getpid()}")
    parser.add_argument("--out", type=Path, default=Path("transcripts"), metavar="DIR")
    parser.add_argument("--retry-after", type=float, default=600, metavar="SECONDS")
    parser.add_argument("--tries", type=int, default=3)
    parser.add_argument("--until-idle", type=float, metavar="SECONDS")
    parser.add_argument("command", nargs="*")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(KeyboardInterrupt):
        Worker(options).run()


if __name__ == "__main__":
    main()
