"""Runs one process of a distributed training, here or at the other end of ssh, for the launcher that holds its stdin.

The first line of stdin is the process, as JSON: `command`, `folder`, `environment`, `towards` (an address, or null),
and after how many seconds of `silence` it ends (or null). A line `stop` asks it to stop. When stdin ends, because the
launcher or the connection does, the process is killed with all that it started. A program of its own that needs but
Python; its exit code is the process's, or 128 and the signal that killed it.
"""
from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time


def own_address(towards: str) -> str:
    """The address of this machine on the way to another one; OSError if there is no way."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((towards, 9))  # sends nothing
        return probe.getsockname()[0]


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: even if this guard is killed


def main() -> int:
    order = json.loads(sys.stdin.buffer.readline() or b'null')
    if order is None:
        return 1
    environment = dict(os.environ, **order['environment'])
    try:
        if order['towards'] is not None:
            environment.setdefault('DMLC_NODE_HOST', own_address(order['towards']))
        process = subprocess.Popen(order['command'], cwd=order['folder'], env=environment, stdin=subprocess.DEVNULL,
                                   start_new_session=True, preexec_fn=_die_with_parent)
    except OSError as error:
        print(f'cannot start {order["command"][0]} in {order["folder"]}: {error}', flush=True)
        return 127
    heard, gone = [time.monotonic()], threading.Event()

    def listen() -> None:
        for line in sys.stdin.buffer:
            heard[0] = time.monotonic()
            if line == b'stop\n':
                process.terminate()
        gone.set()

    threading.Thread(target=listen, daemon=True).start()
    while process.poll() is None:
        silent = order['silence'] is not None and time.monotonic() - heard[0] > order['silence']
        if gone.is_set() or silent:
            process.kill()
        time.sleep(0.05)
    try:
        os.killpg(process.pid, signal.SIGKILL)  # what it has left
    except ProcessLookupError:
        pass
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


if __name__ == '__main__':
    code = main()
    sys.stdout.flush()
    os._exit(code)  # the thread may still read
