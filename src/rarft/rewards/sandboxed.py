"""What runs inside a sandbox: a process that forks, for each job, a program under test or the tests that judge it.

Two such processes serve one worker, in two sandboxes that cannot see each other (sandbox.py starts them):
  - the *runner* forks a process that runs the program and answers calls into it;
  - the *judge* forks one that runs the tests. What the tests take from the program are stand-ins there: a call goes to
    the runner as plain data, and plain data comes back.
So neither the tests nor the verdict are ever in the process that runs the program, and all it can say is what a
function can return: data of the exact types below. Any other object stays in the runner; the judge holds a handle, by
which it can be called, read, iterated and passed on, but not compared or tested for truth.

Run as a script by a bare interpreter, so nothing of rarft is imported. Left out: the limit on wall clock, which
sandbox.py keeps.
"""

import builtins
import collections
import contextlib
import ctypes
import datetime
import decimal
import errno
import fractions
import gc
import importlib
import json
import operator
import os
import platform
import random
import re
import resource
import signal
import socket
import struct
import sys
import types
from collections.abc import Callable
from typing import Any, NoReturn

MESSAGE_LIMIT = 4 << 20
"""Bytes of one message between program and tests."""
MEMORY_LIMIT = 512 << 20
"""Bytes of address space of a program, the interpreter included; also of the tests."""
_RELEASE = re.compile(r"(\d+)\.(\d+)")
TASK_LIMIT = 128
"""Processes and threads of a sandbox. The kernel does not hold root to it, for whom memory is the limit."""
PRELOADED = "bisect cmath copy dataclasses enum functools heapq itertools math re statistics string typing"
"""What programs often import: loaded once, before the forks."""


# Plain data, as JSON: None, bool, float, str and short integers as they are, everything else as [type's name, *parts]

CLASSES = {c.__name__: c for c in (bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict)}
"""Classes that may be values themselves, as in `only([1, "a"], int)`."""
SEQUENCES: tuple[type, ...] = (list, tuple, set, frozenset, collections.deque)
MAPPINGS: tuple[type, ...] = (dict, collections.OrderedDict, collections.Counter)
SCALARS: dict[type, tuple[Callable[[Any], tuple[Any, ...]], Callable[..., Any]]] = {
    int: (lambda i: (hex(i),), lambda text: int(text, 16)),
    bytes: (lambda b: (b.hex(),), bytes.fromhex),
    complex: (lambda c: (c.real, c.imag), complex),
    range: (lambda r: (r.start, r.stop, r.step), range),
    decimal.Decimal: (lambda d: (str(d),), decimal.Decimal),
    fractions.Fraction: (lambda f: (f.numerator, f.denominator), fractions.Fraction),
    datetime.date: (lambda d: (d.year, d.month, d.day), datetime.date),
    datetime.datetime: (
        lambda d: (d.year, d.month, d.day, d.hour, d.minute, d.second, d.microsecond, d.tzinfo),
        datetime.datetime,
    ),
    datetime.timedelta: (lambda d: (d.days, d.seconds, d.microseconds), datetime.timedelta),
    type: (lambda c: (c.__name__,), lambda name: CLASSES[name]),
}
"""Type -> how to take it apart, how to make it again."""
BY_NAME = {c.__name__: c for c in (*SEQUENCES, *MAPPINGS, *SCALARS)}


class Handle:
    """An object that stays in the runner, as the judge sees it: no comparison, no truth, since the program would
    decide both."""

    __slots__ = ("_ask", "_number")

    def __init__(self, ask: Callable[..., Any], number: int) -> None:
        object.__setattr__(self, "_ask", ask)
        object.__setattr__(self, "_number", number)

    def _refuse(self, *_: Any) -> NoReturn:
        raise TypeError("an object of the program's own cannot be compared or tested for truth")

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __bool__ = _refuse


OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": lambda function, *args, **kwargs: function(*args, **kwargs),
    "getattr": getattr,
    "setattr": setattr,
    "getitem": operator.getitem,
    "setitem": operator.setitem,
    "len": len,
    "iter": iter,
    "next": next,
    "str": str,
    "repr": repr,
}
"""What the judge may have done to an object of the runner's."""

for _name in OPERATIONS:
    setattr(Handle, f"__{_name}__", lambda self, *a, _name=_name, **k: self._ask(_name, self, *a, **k))


class Peer:
    """One end of the channel between program and tests. It asks, and answers questions while it waits."""

    offers: dict[str, Callable[..., Any]]
    """What the other end may ask for."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.mine: list[Any] = []
        """Objects that the other end holds by their place here."""

    def ask(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        """Have the other end do something; raises what that raised. Arguments that a call changed in place change."""
        values = [*args, *kwargs.values()]
        keys = [None] * len(args) + list(kwargs)
        self.send(["ask", operation, keys, [self.encode(value) for value in values]])
        while True:
            match self.receive():
                case ["value", value, list(changed)]:
                    for place, now in changed if operation == "call" else ():
                        _become(values[place], self.decode(now))
                    return self.decode(value)
                case ["raised", str(name), str(text)]:
                    if name == "StopIteration" and operation != "next":
                        name = "RuntimeError"  # it would end a loop of the asker's before its time
                    raise _exception(name, text)
                case ["ask", str(asked), list(asked_keys), list(parts)]:
                    self.answer(asked, asked_keys, parts)
                case _:
                    self.lost()

    def answer(self, operation: str, keys: list[str | None], parts: list[Any]) -> None:
        """Do what the other end asks for and send what came of it."""
        try:
            values = [self.decode(part) for part in parts]
            given = list(zip(keys, values, strict=True))
            result = self.offers[operation](
                *[value for key, value in given if key is None], **{key: value for key, value in given if key}
            )
            changed = [
                [place, now]
                for place, value in enumerate(values)
                if hasattr(type(value), "clear") and (now := self.encode(value)) != parts[place]
            ]
            self.send(["value", self.encode(result), changed])
        except BaseException as error:
            self.send(["raised", type(error).__name__, str(error)[:1000]])

    def send(self, message: list[Any]) -> None:
        """Write one message. ValueError if it is too long."""
        data = json.dumps(message).encode()
        if len(data) > MESSAGE_LIMIT:
            raise ValueError(f"a value of {len(data)} bytes; the limit is {MESSAGE_LIMIT}")
        view = memoryview(struct.pack("!I", len(data)) + data)
        while view:
            view = view[os.write(self.fd, view) :]

    def receive(self) -> Any:
        """Read one message."""
        try:
            (length,) = struct.unpack("!I", read(self.fd, 4))
            if length > MESSAGE_LIMIT:
                self.lost()
            return json.loads(read(self.fd, length))
        except (OSError, EOFError):
            self.lost()

    def encode(self, value: Any) -> Any:
        """`value` as JSON; an object that is no plain data becomes a number that this end remembers."""
        kind = type(value)
        if value is None or kind in (bool, float, str) or (kind is int and -(1 << 53) < value < 1 << 53):
            return value
        if kind in SEQUENCES:
            return [kind.__name__, *map(self.encode, value)]
        if kind in MAPPINGS or kind is collections.defaultdict:
            name = "dict" if kind is collections.defaultdict else kind.__name__
            return [name, *(self.encode(part) for pair in value.items() for part in pair)]
        if kind in SCALARS and (kind is not type or value in CLASSES.values()):
            return [kind.__name__, *map(self.encode, SCALARS[kind][0](value))]
        theirs = self.number(value)
        return ["yours", theirs] if theirs is not None else ["mine", self.remember(value)]

    def decode(self, data: Any) -> Any:
        """The value that the other end encoded: of an exact type named above, or a stand-in."""
        if not isinstance(data, list):
            return data
        name, *parts = data
        if name == "yours":
            return self.mine[parts[0]]
        if name == "mine":
            return self.stand_in(parts[0])
        kind, values = BY_NAME[name], [self.decode(part) for part in parts]
        if kind in SEQUENCES:
            return kind(values)
        if kind in MAPPINGS:
            return kind(dict(zip(values[::2], values[1::2], strict=True)))
        return SCALARS[kind][1](*values)

    def remember(self, value: Any) -> int:
        """Keep `value` for the other end and give its number."""
        self.mine.append(value)
        return len(self.mine) - 1

    def stand_in(self, number: int) -> Any:
        """What stands here for the other end's object."""
        raise NotImplementedError

    def number(self, value: Any) -> int | None:
        """The number of the other end's object that `value` stands for, None if for none."""
        raise NotImplementedError

    def lost(self) -> NoReturn:
        """The other end is gone, or sent what is no message."""
        os._exit(0)


def read(fd: int, size: int) -> bytes:
    """Exactly `size` bytes. EOFError if there are fewer."""
    data = bytearray()
    while len(data) < size:
        chunk = os.read(fd, size - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return bytes(data)


def _become(old: Any, new: Any) -> None:
    """Make `old` equal to `new`, in place."""
    old.clear()
    (old.extend if hasattr(old, "extend") else old.update)(new)


def _exception(name: str, text: str) -> Exception:
    """The built-in exception of that name; a plain Exception for any other."""
    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        with contextlib.suppress(TypeError):
            return kind(text)
    return Exception(f"{name}: {text}")


class Runner(Peer):
    """The end that holds the program."""

    def __init__(self, fd: int, program: str) -> None:
        super().__init__(fd)
        self.program = program
        self.stand_ins: dict[Any, int] = {}
        self.offers = OPERATIONS | {"load": self.load}

    def load(self, names: tuple[str, ...], modules: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """Run the program; what it defined of `names`. It may import `modules`, whose functions are the judge's."""
        for name, members in modules.items():
            sys.modules[name] = types.ModuleType(name)
            vars(sys.modules[name]).update(members)
        random.seed(0)  # the same program does the same each time
        module = sys.modules["solution"] = types.ModuleType("solution")
        exec(compile(self.program, "<program>", "exec", dont_inherit=True), vars(module))
        return {name: vars(module)[name] for name in names if name in vars(module)}

    def serve(self) -> NoReturn:
        """Answer until the judge is gone."""
        while True:
            _, operation, keys, parts = self.receive()
            self.answer(operation, keys, parts)

    def stand_in(self, number: int) -> Any:
        """A function that calls the judge's."""

        def call(*args: Any, **kwargs: Any) -> Any:
            return self.ask("call", call, *args, **kwargs)

        self.stand_ins[call] = number
        return call

    def number(self, value: Any) -> int | None:
        """As in Peer."""
        return self.stand_ins.get(value) if isinstance(value, types.FunctionType) else None


class Gone(BaseException):
    """The program ended, or sent what is no message."""


class Judge(Peer):
    """The end that holds the tests, for one program."""

    offers = {"call": OPERATIONS["call"]}
    gone = False

    def remember(self, value: Any) -> int:
        """Functions only: the program could read any other object, and what hangs on it."""
        if not callable(value):
            raise TypeError(f"the tests give the program a {type(value).__name__}, which cannot be sent")
        return super().remember(value)

    def stand_in(self, number: int) -> Any:
        """A handle."""
        return Handle(self.ask, number)

    def number(self, value: Any) -> int | None:
        """As in Peer."""
        return object.__getattribute__(value, "_number") if type(value) is Handle else None

    def lost(self) -> NoReturn:
        """Remembered, since tests may catch everything: a program that is gone has failed."""
        self.gone = True
        raise Gone("the program ended")

    def verdict(self, case: "Case") -> str:
        """Run the tests: "passed", or "failed: " and why."""
        random.seed(0)
        try:
            found = self.ask("load", tuple(case.names), case.modules)
            space = {"__name__": "tests"} | case.imports | {name: found[name] for name in case.names if name in found}
            exec(case.tests, space)
            if case.check:
                space["check"](space[case.check])
        except BaseException as error:
            why = [text for text in error.args[:1] if type(text) is str]  # a handle would ask the program
            return ": ".join(["failed", type(error).__name__, *why])[:1000]
        return "failed: the program ended" if self.gone else "passed"


class Case:
    """The tests of one problem, ready to run."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.names, self.check = job["names"], job["check"]
        self.modules: dict[str, dict[str, Any]] = {}
        """Functions that programs may import and call, but not see: module's name -> function's name -> function."""
        for name, source in job["modules"].items():
            module = sys.modules[name] = types.ModuleType(name)
            exec(compile(source, f"<{name}>", "exec", dont_inherit=True), vars(module))
            self.modules[name] = {
                key: value
                for key, value in vars(module).items()
                if isinstance(value, types.FunctionType) and value.__module__ == name and not key.startswith("_")
            }
        self.imports: dict[str, Any] = {name: importlib.import_module(name) for name in job["imports"]}
        self.tests = compile(job["tests"], "<tests>", "exec", dont_inherit=True)


# Confinement of a forked process


# fmt: off
SYSCALLS: dict[str, tuple[int | None, int | None]] = {
    # name: numbers on x86_64 and aarch64 (Linux's asm/unistd_64.h and asm-generic/unistd.h)
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67), "lseek": (8, 62),
    "close": (3, 57), "close_range": (436, 436), "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24),
    "pipe": (22, None), "pipe2": (293, 59), "poll": (7, None), "ppoll": (271, 73), "select": (23, None),
    "pselect6": (270, 72), "epoll_create1": (291, 20), "epoll_ctl": (233, 21), "epoll_wait": (232, None),
    "epoll_pwait": (281, 22), "eventfd2": (290, 19), "socketpair": (53, 199), "sendto": (44, 206),
    "recvfrom": (45, 207), "sendmsg": (46, 211), "recvmsg": (47, 212), "stat": (4, None), "lstat": (6, None),
    "fstat": (5, 80), "newfstatat": (262, 79), "statx": (332, 291), "access": (21, None), "faccessat": (269, 48),
    "faccessat2": (439, 439), "readlink": (89, None), "readlinkat": (267, 78), "getdents64": (217, 61),
    "getcwd": (79, 17), "chdir": (80, 49), "umask": (95, 166), "mmap": (9, 222), "mprotect": (10, 226),
    "munmap": (11, 215), "mremap": (25, 216), "madvise": (28, 233), "brk": (12, 214), "futex": (202, 98),
    "set_robust_list": (273, 99), "rseq": (334, 293), "set_tid_address": (218, 96), "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123), "membarrier": (324, 283), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139), "sigaltstack": (131, 132), "restart_syscall": (219, 128), "nanosleep": (35, 101),
    "clock_nanosleep": (230, 115), "clock_gettime": (228, 113), "clock_getres": (229, 114), "gettimeofday": (96, 169),
    "time": (201, None), "times": (100, 153), "getitimer": (36, 102), "setitimer": (38, 103), "alarm": (37, None),
    "getpid": (39, 172), "gettid": (186, 178), "getppid": (110, 173), "getuid": (102, 174), "geteuid": (107, 175),
    "getgid": (104, 176), "getegid": (108, 177), "getgroups": (115, 158), "uname": (63, 160), "sysinfo": (99, 179),
    "getrusage": (98, 165), "getrlimit": (97, 163), "getrandom": (318, 278), "exit": (60, 93), "exit_group": (231, 94),
}
# fmt: on
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Machine -> column above, the kernel's name of its call convention."""
LOAD, EQUALS, ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, KILL, FAIL = 0x7FFF0000, 0x80000000, 0x00050000
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# fmt: off
BY_ARGUMENT: list[tuple[tuple[int | None, int | None], int, int, list[int], int, int]] = [
    # numbers, which argument, what to test, operands, outcome if one applies, outcome otherwise
    ((56, 220), 0, ANY_BIT, [0x10000], ALLOW, FAIL | errno.ENOSYS),  # clone: threads
    ((2, None), 1, ANY_BIT, [WRITING], FAIL | errno.EROFS, ALLOW),  # open
    ((257, 56), 2, ANY_BIT, [WRITING], FAIL | errno.EROFS, ALLOW),  # openat
    ((72, 25), 1, EQUALS, [0, 1, 2, 3, 4, 1030], ALLOW, FAIL | errno.EPERM),  # fcntl: copies and flags, no owners
    ((16, 29), 1, EQUALS, [0x5401, 0x5421, 0x5450, 0x5451], ALLOW, FAIL | errno.EPERM),  # ioctl: isatty, flags
    ((302, 261), 0, EQUALS, [0], ALLOW, FAIL | errno.EPERM),  # prlimit64: its own
]
# fmt: on


def syscall_filter(machine: str) -> bytes:
    """A seccomp program that lets through what a computing interpreter needs and no more: no process, no socket, no
    signal, no open for writing. All else fails with ENOSYS, as on a kernel that lacks it."""
    column, convention = MACHINES[machine]
    steps: list[tuple[int, ...]] = [(LOAD, 0, 0, 4), (EQUALS, 1, 0, convention), (RETURN, 0, 0, KILL), (LOAD, 0, 0, 0)]
    for numbers in SYSCALLS.values():
        if (number := numbers[column]) is not None:
            steps += [(EQUALS, 0, 1, number), (RETURN, 0, 0, ALLOW)]
    for numbers, argument, test, operands, hit, miss in BY_ARGUMENT:
        if (number := numbers[column]) is not None:
            check = [step for operand in operands for step in ((test, 0, 1, operand), (RETURN, 0, 0, hit))]
            check = [(LOAD, 0, 0, 16 + 8 * argument), *check, (RETURN, 0, 0, miss)]
            steps += [(EQUALS, 0, len(check), number), *check]
    return b"".join(struct.pack("HBBI", *step) for step in [*steps, (RETURN, 0, 0, FAIL | errno.ENOSYS)])


class FilterProgram(ctypes.Structure):
    """The kernel's struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


class Confinement:
    """The limits of this process and of those that it forks, and the filter that a forked one takes on."""

    def __init__(self) -> None:
        limits = {
            resource.RLIMIT_AS: MEMORY_LIMIT,
            resource.RLIMIT_FSIZE: 0,
            resource.RLIMIT_CORE: 0,
            resource.RLIMIT_NOFILE: 64,
        }
        release = _RELEASE.match(platform.release())
        if os.getpid() == 1 and release and (int(release[1]), int(release[2])) >= (5, 14):
            limits[resource.RLIMIT_NPROC] = TASK_LIMIT  # an older kernel would count whatever this user runs
        for limit, value in limits.items():
            resource.setrlimit(limit, (value, value))
        self.prctl = None
        if sys.platform == "linux" and platform.machine() in MACHINES:
            steps = syscall_filter(platform.machine())
            self.filter = ctypes.pointer(FilterProgram(len(steps) // 8, steps))
            self.prctl = ctypes.CDLL(None, use_errno=True).prctl
            self.prctl(4, 0, 0, 0, 0)  # DUMPABLE: no child may trace this process

    def take_on(self, seconds: int | None) -> None:
        """For good: the filter, and `seconds` of processor time."""
        if seconds is not None:
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        if self.prctl and (self.prctl(38, 1, 0, 0, 0) or self.prctl(22, 2, self.filter, 0, 0)):
            raise OSError(ctypes.get_errno(), "the system call filter was refused")  # NO_NEW_PRIVS; SECCOMP, a filter


# The process that forks


def end_children(child: int | None) -> None:
    """Kill whatever a job left. As process 1 of a namespace that is every other process in it, at one stroke."""
    if os.getpid() == 1:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)
    elif child is not None:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def run_tests(line: socket.socket, case: Case) -> None:
    """Run tests against one program after another, each at the other end of a descriptor that comes on `line`."""
    while descriptors := socket.recv_fds(line, 1, 1)[1]:
        verdict = Judge(descriptors[0]).verdict(case)
        os.close(descriptors[0])
        line.sendall(verdict.replace("\n", " ").encode("utf-8", "replace") + b"\n")


def work(line: int, channel: list[int], confinement: Confinement) -> None:
    """The forked process: read the job from `line`, take on the limits, do it."""
    (length,) = struct.unpack("!I", read(line, 4))
    job = json.loads(read(line, length))
    if "program" in job:
        os.close(line)
        confinement.take_on(job["seconds"])
        Runner(channel[0], job["program"]).serve()
    with socket.socket(fileno=line) as verdicts:
        confinement.take_on(job["seconds"])
        run_tests(verdicts, Case(job))


def main(control: socket.socket) -> None:
    """Take orders from `control` until it closes: clear up, or fork for the job at the other end of a descriptor.

    The descriptor of a program's channel comes with it; those of the tests, one for each program, come later.
    """
    for name in PRELOADED.split():
        importlib.import_module(name)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    confinement = Confinement()
    gc.collect()
    gc.freeze()
    control.sendall(b"r")
    child = None
    while True:
        order, descriptors, _, _ = socket.recv_fds(control, 1, 2)
        end_children(child)
        child = None
        if not order:
            return
        if order == b"c":
            control.sendall(b"c")
            continue
        child = os.fork()
        if child == 0:
            try:
                control.close()
                work(descriptors[0], descriptors[1:], confinement)
            finally:
                os._exit(1)
        for descriptor in descriptors:
            os.close(descriptor)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
