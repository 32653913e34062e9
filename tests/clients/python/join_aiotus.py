"""aiotus joins files by concatenation: `join_aiotus.py ENDPOINT FILE...`. Prints the URL of the final upload."""

import asyncio
import contextlib
import sys

import aiotus

with contextlib.ExitStack() as stack:
    files = [stack.enter_context(open(path, "rb")) for path in sys.argv[2:]]
    # Metadata are any bytes, not only text.
    metadata = {"filename": "größe.bin".encode(), "raw": bytes(range(256)), "no-value": None}
    url = asyncio.run(aiotus.upload_multiple(sys.argv[1], files, metadata))
if url is None:
    sys.exit("aiotus gave up")
print(url)
