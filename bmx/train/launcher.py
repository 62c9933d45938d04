"""Starts the processes of a distributed training, passes on what they write, and ends all when one fails.

What they are told are the environment variables of ps-lite. Each runs under a `guard`, here or on another host by ssh.
"""
from __future__ import annotations

import dataclasses
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import IO, Callable, Sequence

from . import guard
from .errors import TrainingError
from .signals import StopSignals
from .workers import RANK

# Seconds that processes get to end by themselves, after one has failed or all workers have ended.
GRACE = 15
# Seconds without a word from here after which processes on other hosts end.
SILENCE = 45

# The exit code of a command that was asked to stop, and did.
STOPPED = 130

_SSH = ('ssh', '-o', 'BatchMode=yes', '-o', 'ConnectTimeout=20', '-o', 'ServerAliveInterval=10', '-o',
        'ServerAliveCountMax=3')
# What other hosts are told of the environment here, by how it begins: the paths have to be the same there.
_PASSED = ('DMLC_', 'PS_', 'MXNET_', 'OMP_', 'BMX_', 'PATH', 'PYTHONPATH', 'LD_LIBRARY_PATH', 'VIRTUAL_ENV')
# What is a server or the scheduler: the import of what either needs, see `bmx.mxnet_import`.
_COMMANDS = {role: [sys.executable, '-W', 'ignore', '-c', 'import ' + package]
             for role, package in (('scheduler', 'mxnet'), ('server', 'bmx'))}


def read_hosts(path: str) -> list[str]:
    """The hosts of a file, one in a line, as ssh takes them; what follows a # is a comment.

    Raises
    ------
    TrainingError
        It has none, or a line that is no host.
    OSError
    """
    with open(path, encoding='utf-8') as lines:
        hosts = [line.partition('#')[0].strip() for line in lines]
    for host in filter(None, hosts):
        if len(host.split()) > 1 or host.startswith('-'):
            raise TrainingError(f'{path}: {host!r} is no host: one in a line, as ssh takes it')
    if not any(hosts):
        raise TrainingError(f'{path} lists no hosts')
    return [host for host in hosts if host]


def address_for(hosts: Sequence[str]) -> str:
    """The address under which hosts reach this machine."""
    found = []
    for host in hosts:
        try:
            found.append(guard.own_address(host.rpartition('@')[2]))
        except OSError as error:
            raise TrainingError(f'there is no way to the host {host} ({error}): correct the hosts, or give --address, '
                                'under which they reach this machine') from None
    return next((each for each in found if not each.startswith('127.')), '127.0.0.1')


def free_port(address: str, port: int | None = None) -> int:
    """A port of this machine that is free now, or the one that is asked for.

    Raises
    ------
    TrainingError
        It is in use, or the address is not this machine's.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port or 0))
        except OSError as error:
            what = f'port {port} of {address}' if port else f'the address {address}'
            raise TrainingError(f'{what} cannot be used: {error.strerror}; give another '
                                f'{"--port" if port else "--address"}, or leave it out') from None
        return probe.getsockname()[1]


@dataclasses.dataclass
class _Process:
    """One that was started: its name, host (None: here), the guard's or ssh's process, and the last line it wrote."""
    name: str
    host: str | None
    popen: subprocess.Popen
    stdin: IO[bytes]
    stdout: IO[bytes]
    last: str = ''
    asked: bool = False

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self.popen.poll()

    def send(self, line: bytes) -> None:
        """Tell the guard."""
        try:
            self.stdin.write(line)
            self.stdin.flush()
        except OSError:  # it has ended
            pass

    def ask_to_stop(self) -> None:
        """Once: a training that is asked twice ends without saving."""
        if not self.asked:
            self.asked = True
            self.send(b'stop\n')

    def end(self) -> None:
        """Have the guard kill it."""
        try:
            self.stdin.close()
        except OSError:
            pass

    @property
    def failure(self) -> str:
        """How it failed, as a sentence."""
        said = f': {self.last}' if self.last else ''
        name = f'{self.name} on {self.host}' if self.host else self.name
        if self.host and self.code == 255:  # ssh's own
            return f'the host {self.host} of {self.name} does not answer, or no longer{said}'
        if self.code is not None and self.code > 128:
            number = self.code - 128
            known = {each.value: each.name for each in signal.Signals}
            return (f'{name} was killed by signal {number} ({known.get(number, "unknown")}); all others were ended, '
                    'with --resume a training goes on from its last checkpoint')
        return f'{name} ended with exit code {self.code}{said}'


class Job:
    """The processes of a distributed training.

    Parameters
    ----------
    command : list of str
        What each worker runs.
    workers, servers : int
    hosts : list of str
        Where they run, in turn; the scheduler runs here. None: all run here.
    address : str
        Under which the hosts reach this machine.
    port : int
        Of the scheduler.
    threads : int, optional
        With which each process computes, where the environment does not say.
    tell : callable
        Takes each line that they write.
    """

    def __init__(self, command: Sequence[str], workers: int, servers: int, hosts: Sequence[str], address: str,
                 port: int, threads: int | None, tell: Callable[[str], None]) -> None:
        self._command = list(command)
        self._counts = {'scheduler': 1, 'server': servers, 'worker': workers}
        self._hosts = hosts
        self._address = address
        self._tell = tell
        self._environment = {'DMLC_PS_ROOT_URI': address, 'DMLC_PS_ROOT_PORT': str(port),
                             'DMLC_NUM_WORKER': str(workers), 'DMLC_NUM_SERVER': str(servers), 'PYTHONUNBUFFERED': '1'}
        if threads is not None and 'OMP_NUM_THREADS' not in os.environ:
            self._environment['OMP_NUM_THREADS'] = str(threads)
        self._processes: list[_Process] = []
        self._readers: list[threading.Thread] = []
        self._telling = threading.Lock()

    def run(self) -> tuple[int, str | None]:
        """Run them to their end.

        Returns
        -------
        int
            0, the exit code of the first that failed, or `STOPPED`.
        str or None
            How it failed.
        """
        with StopSignals() as stop:
            try:
                for role, count in self._counts.items():
                    for rank in range(count):
                        self._start(role, rank)
                failed = self._watch(stop)
            finally:
                self._end()
        # What does not yet listen to signals, as it has just begun, is killed by the one that asks it to stop.
        stopped = (STOPPED, 128 + signal.SIGTERM) if stop.count else (STOPPED,)
        if failed is not None and failed.code not in stopped:
            return failed.code or 1, failed.failure
        return (STOPPED if failed or stop.count else 0), None

    def _start(self, role: str, rank: int) -> None:
        host = self._hosts[rank % len(self._hosts)] if self._hosts and role != 'scheduler' else None
        environment = dict(self._environment, DMLC_ROLE=role)
        if role == 'worker':
            environment[RANK] = str(rank)
        if host:
            environment = dict({name: value for name, value in os.environ.items() if name.startswith(_PASSED)},
                               **environment)
        command = [sys.executable, '-I', os.path.abspath(guard.__file__)]
        popen = subprocess.Popen([*_SSH, host, shlex.join(command)] if host else command, stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        assert popen.stdin is not None and popen.stdout is not None
        process = _Process('scheduler' if role == 'scheduler' else f'{role} {rank}', host, popen, popen.stdin,
                           popen.stdout)
        self._processes.append(process)
        self._readers.append(threading.Thread(target=self._forward, args=(process,), daemon=True))
        self._readers[-1].start()
        process.send(json.dumps({
            'command': _COMMANDS.get(role, self._command), 'folder': os.getcwd(),
            'environment': environment, 'towards': self._address if role != 'scheduler' else None,
            'silence': SILENCE if host else None}).encode() + b'\n')

    def _forward(self, process: _Process) -> None:
        """Pass on what a process writes, each line with its name before it."""
        for line in process.stdout:
            text = line.decode(errors='replace').rstrip()
            process.last = text or process.last
            with self._telling:
                self._tell(f'[{process.name}] {text}')

    def _watch(self, stop: StopSignals) -> _Process | None:
        """Wait until the workers have ended, or one process has failed and the others had time; returns that one."""
        workers = [each for each in self._processes if each.name.startswith('worker')]
        failed, end, told, asked = None, float('inf'), time.monotonic(), 0
        running = True
        while running and time.monotonic() < end:
            time.sleep(0.05)
            running = any(each.code is None for each in workers)
            if failed is None:
                failed = next((each for each in self._processes if each.code not in (None, 0)), None)
                if failed:
                    end = time.monotonic() + GRACE
            if stop.count > asked:
                asked = stop.count
                if asked > 1:
                    break
            if failed or asked:
                for each in workers:
                    each.ask_to_stop()
            if time.monotonic() - told > SILENCE / 9:
                told = time.monotonic()
                for each in self._processes:
                    each.send(b'\n')
        return failed

    def _end(self) -> None:
        """End what still runs; the servers by themselves, if all workers have."""
        workers = [each for each in self._processes if each.name.startswith('worker')]
        end = time.monotonic() + (GRACE if all(each.code == 0 for each in workers) else 0)
        while any(each.code is None for each in self._processes) and time.monotonic() < end:
            time.sleep(0.05)
        for each in self._processes:
            each.end()
        for each in self._processes:
            try:
                each.popen.wait(GRACE)
            except subprocess.TimeoutExpired:
                each.popen.kill()  # an ssh without an answer
                each.popen.wait()
        for reader in self._readers:
            reader.join(1)
