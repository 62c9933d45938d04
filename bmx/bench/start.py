"""How long a program takes to its first answer, and its peak memory: a program itself, which imports nothing of bmx.

    python start.py COMMAND...

Prints a list of the seconds until the command's first output and of the most bytes of memory that it had. A process of
its own, and a small one: what the kernel tells of a process's memory begins with that of the process it came from.
"""
import json
import os
import sys
import time


def main(*command: str) -> int:
    reading, writing = os.pipe()
    start = time.perf_counter()
    process = os.fork()
    if process == 0:
        try:
            os.dup2(writing, 1)
            os.close(reading)
            os.execv(command[0], command)
        finally:
            os._exit(127)
    os.close(writing)
    os.read(reading, 1)
    seconds = time.perf_counter() - start
    while os.read(reading, 1 << 16):
        pass
    _, status, usage = os.wait4(process, 0)
    print(json.dumps([seconds, 1024 * usage.ru_maxrss]))
    return 1 if status else 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
