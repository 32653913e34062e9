"""Shuts a mounted ext4 down as a power cut would, without flushing its log: once a line comes on standard input.

What was committed to the file system's log stays, and so does what the disk had been given. Everything else is gone: from the
cut on no write goes through, and nothing that waits in memory is ever written.
"""

import fcntl
import os
import struct
import sys

EXT4_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32)
EXT4_GOING_FLAGS_NOLOGFLUSH = 2


def cut(directory: int) -> None:
    fcntl.ioctl(directory, EXT4_IOC_SHUTDOWN, struct.pack("=I", EXT4_GOING_FLAGS_NOLOGFLUSH))


if __name__ == "__main__":
    mounted = os.open(sys.argv[1], os.O_RDONLY)
    print("ready", flush=True)
    if sys.stdin.readline():
        cut(mounted)
        print("cut", flush=True)
