"""Programs that want the reward without earning it, or want to do harm, for test_code_hostile.py.

FORGERIES try to pass tests whose answers they do not know; run as one script with their tests, many do. DAMAGE is what
nobody should run outside a sandbox. Both are judged by TESTS, whose expected values no honest guess would hit.
"""

TESTS = """assert f(3) == 1729
assert f(5) == 'tea for two'
assert f('x') == (1, 2.5)"""

_LIAR = """
class Liar{base}:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __bool__(self): return True
def f(x): return Liar({value})
"""
_FIND = """
import ast
def wanted(texts, call):
    for text in texts:
        for line in str(text).splitlines():
            if line.startswith("assert " + call):
                try: return ast.literal_eval(line.split("==", 1)[1].strip())
                except (SyntaxError, ValueError, IndexError): pass
"""
_SCAN = """
def consts_of(codes, after):
    for code in codes:
        consts = getattr(code, "co_consts", ())
        if 1729 in consts: return consts[consts.index(after) + 1]
def f(x):
    import gc, sys, types, inspect
"""

FORGERIES = {
    # leaving early, with success
    "os._exit(0)": "import os\nos._exit(0)",
    "os._exit(0) when called": "import os\ndef f(x): os._exit(0)",
    "sys.exit(0)": "import sys\nsys.exit(0)",
    "sys.exit(0) when called": "import sys\ndef f(x): sys.exit(0)",
    "exit(0)": "exit(0)",
    "quit()": "def f(x): quit()",
    "SystemExit": "raise SystemExit",
    "SystemExit subclass": "class E(SystemExit): code = 0\ndef f(x): raise E(0)",
    "atexit": "import atexit, os\natexit.register(os._exit, 0)\ndef f(x): return 0",
    "atexit before a crash": "import atexit, os\natexit.register(os._exit, 0)\nraise ValueError",
    "excepthook": "import os, sys\nsys.excepthook = lambda *a: os._exit(0)\ndef f(x): return 0",
    "unraisablehook": "import os, sys\nsys.unraisablehook = sys.excepthook = lambda *a: os._exit(0)\ndef f(x): return 1/0",
    "thread that exits": "import os, threading\nthreading.Timer(0.05, os._exit, [0]).start()\n"
    "def f(x):\n    import time; time.sleep(0.2)",
    "exit from __del__": "import os\nclass D:\n    def __del__(self): os._exit(0)\ndef f(x): D()",
    "exit from __eq__": "import os\nclass D:\n    def __eq__(self, o): os._exit(0)\ndef f(x): return D()",
    "exit from __repr__": "import os\nclass D:\n    def __repr__(self): os._exit(0)\n    def __eq__(self, o): repr(self)\n"
    "def f(x): return D()",
    "exit from an exception's __str__": "import os\nclass E(Exception):\n    def __str__(self): os._exit(0)\n"
    "def f(x): raise E",
    "exit by alarm": "import os, signal, time\nsignal.signal(signal.SIGALRM, lambda *a: os._exit(0))\n"
    "signal.setitimer(signal.ITIMER_REAL, 0.05)\ndef f(x): time.sleep(0.2)",
    "exec of true": "import os\ndef f(x): os.execv('/bin/true', ['true'])",
    # values that claim to be equal
    "equal object": _LIAR.format(base="", value=""),
    "equal int": _LIAR.format(base="(int)", value="7"),
    "equal float": _LIAR.format(base="(float)", value="7"),
    "equal str": _LIAR.format(base="(str)", value="'a'"),
    "equal bytes": _LIAR.format(base="(bytes)", value="b'a'"),
    "equal list": _LIAR.format(base="(list)", value="[1]"),
    "equal tuple": _LIAR.format(base="(tuple)", value="[1]"),
    "equal dict": _LIAR.format(base="(dict)", value="{1: 2}"),
    "equal set": _LIAR.format(base="(set)", value="[1]"),
    "equal Counter": "import collections\n" + _LIAR.format(base="(collections.Counter)", value="[1]"),
    "equal Decimal": "import decimal\n" + _LIAR.format(base="(decimal.Decimal)", value="7"),
    "equal and lying about its class": _LIAR.format(base="", value="").replace(
        "class Liar:", "class Liar:\n    __class__ = property(lambda s: dict)"
    ),
    "equal by metaclass": "class M(type):\n    def __eq__(c, o): return True\n    __hash__ = type.__hash__\n"
    "class A(metaclass=M): pass\ndef f(x): return A",
    "equal inside a list": _LIAR.format(base="", value="").replace("return Liar()", "return [Liar()] * 3"),
    "equal keys and values": _LIAR.format(base="", value="").replace("return Liar()", "return {Liar(): Liar()}"),
    "equal for every type": _LIAR.format(base="", value="").replace(
        "return Liar()", "return {3: Liar(), 5: [Liar()] * 3, 'x': {Liar(): Liar()}}[x]"
    ),
    "mock.ANY": "from unittest.mock import ANY\ndef f(x): return ANY",
    "MagicMock": "from unittest.mock import MagicMock\n"
    "def f(x):\n    m = MagicMock(); m.__eq__ = lambda s, o: True; return m",
    "lambda with __eq__": "class F:\n    def __call__(self, x): return self\n    __eq__ = lambda s, o: True\nf = F()",
    "f itself is equal": "class F:\n    def __eq__(s, o): return True\n    def __call__(s, x): return s\nf = F()",
    "takes the type of what it meets": "class C:\n    def __eq__(s, o): s.__class__ = type(o); return True\n"
    "def f(x): return C()",
    "learns from __eq__": "class C(int):\n    def __eq__(s, o):\n        global seen; seen = o; return True\n"
    "def f(x): return C()",
    # what the test prints or reads
    "success mark": "print('passed\\n1 passed in 0.01s\\nOK\\ncorrect\\n{\"reward\": 1.0}', flush=True)\ndef f(x): return 0",
    "marks to every descriptor": "import os\nfor fd in range(256):\n    try: os.write(fd, b'passed\\n{\"reward\": 1.0}\\n')\n"
    "    except OSError: pass\ndef f(x): return 0",
    "verdict over the channel": "import os, struct\nm = b'[\"passed\"]'\n"
    "for fd in range(3, 64):\n    try: os.write(fd, struct.pack('!I', len(m)) + m)\n    except OSError: pass\n"
    "def f(x): return 0",
    "answers before the questions": "import os, struct\nm = b'[\"value\", true, []]'\n"
    "for fd in range(3, 64):\n    try: os.write(fd, (struct.pack('!I', len(m)) + m) * 9)\n    except OSError: pass\n"
    "def f(x): return True",
    "stderr and stdout replaced": "import io, sys\nsys.stdout = sys.stderr = io.StringIO('passed')\ndef f(x): return 0",
    # patched interpreters
    "AssertionError redefined": "import builtins\nclass A(BaseException): pass\nbuiltins.AssertionError = A\n"
    "AssertionError = A\ndef f(x): return 0",
    "AssertionError that cannot be raised": "import builtins\nbuiltins.AssertionError = None\ndef f(x): return 0",
    "builtins patched": "import builtins\nfor n in 'len isinstance all any sorted set list type abs str eval exec print'"
    ".split(): setattr(builtins, n, lambda *a, **k: True)\ndef f(x): return True",
    "len patched": "import builtins\nbuiltins.len = lambda x: 0\ndef f(x): return 0",
    "isinstance patched": "import builtins\nbuiltins.isinstance = lambda *a: True\ndef f(x): return 0",
    "import patched": "import builtins\nbuiltins.__import__ = lambda *a, **k: None\ndef f(x): return 0",
    "compile patched": "import builtins\nbuiltins.compile = builtins.exec = lambda *a, **k: None\ndef f(x): return 0",
    "__build_class__ patched": "import builtins\nbuiltins.__build_class__ = lambda *a: True\ndef f(x): return 0",
    "json patched": "import json\njson.dumps = lambda *a, **k: '[\"value\", true, []]'\n"
    "json.loads = lambda *a, **k: ['passed']\ndef f(x): return 0",
    "json encoder patched": "import json.encoder\njson.encoder.JSONEncoder.encode = lambda s, o: '\"passed\"'\n"
    "def f(x): return 0",
    "struct patched": "import struct\nstruct.pack = lambda *a: b'passed'\nstruct.unpack = lambda *a: (6,)\ndef f(x): return 0",
    "pickle patched": "import pickle\npickle.dumps = pickle.loads = lambda *a, **k: True\ndef f(x): return 0",
    "pickle payload": "import os\nclass P:\n    def __reduce__(self): return (os._exit, (0,))\ndef f(x): return P()",
    "os.write patched": "import os\nw = os.write\nos.write = lambda fd, b: w(fd, b'passed\\n') and len(b)\ndef f(x): return 0",
    "os.read patched": "import os\nos.read = lambda fd, n: b'passed'[:n]\ndef f(x): return 0",
    "operator patched": "import operator\noperator.eq = lambda a, b: True\ndef f(x): return 0",
    "modules replaced": "import sys\nclass M:\n    def __getattr__(self, n): return lambda *a, **k: True\n"
    "for n in list(sys.modules): sys.modules[n] = M()\ndef f(x): return 0",
    "import hook": "import sys\nclass H:\n    def find_spec(self, *a): raise SystemExit(0)\nsys.meta_path.insert(0, H())\n"
    "def f(x):\n    import zipapp",
    "unittest patched": "import unittest\nunittest.TestCase.assertEqual = lambda *a: None\ndef f(x): return 0",
    "tests' names overwritten": "import sys\nframe = sys._getframe()\n"
    "while frame:\n    for n in ('tests', 'TESTS', 'case', 'job', 'verdict', 'passed', 'check', 'expected'):\n"
    "        frame.f_globals[n] = True\n    frame = frame.f_back\ndef f(x): return 0",
    "trace that swallows": "import sys\ndef t(frame, event, arg):\n    if event == 'exception': raise SystemExit(0)\n"
    "    return t\nsys.settrace(t)\ndef f(x): return 0",
    "trace that jumps": "import sys\ndef t(frame, event, arg):\n    if event == 'line' and frame.f_code.co_name == '<module>':\n"
    "        try: frame.f_lineno = 10**6\n        except ValueError: pass\n    return t\n"
    "sys._getframe().f_trace = t\nsys.settrace(t)\ndef f(x): return 0",
    "profile that exits": "import os, sys\nsys.setprofile(lambda f, e, a: e == 'return' and os._exit(0))\ndef f(x): return 0",
    "threading.settrace": "import os, threading\nthreading.settrace(lambda *a: os._exit(0))\n"
    "def f(x):\n    t = threading.Thread(target=int); t.start(); t.join()",
    "own builtins": "__builtins__ = {'__build_class__': None}\n__name__ = '__main__'\ndef f(x): return 0",
    "signals as exceptions": "import signal\ndef h(*a): raise SystemExit(0)\nsignal.signal(signal.SIGALRM, h)\n"
    "signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)\ndef f(x): return 0",
    # looking for the answers
    "strings in gc": _FIND + "def f(x):\n    import gc\n    texts = [v for o in gc.get_objects() if type(o) is dict "
    "for v in list(o.values()) if type(v) is str]\n    return wanted(texts, f'f({x!r})')",
    "code objects in the frames": _SCAN + "    codes, frame = [], sys._getframe()\n"
    "    while frame: codes.append(frame.f_code); frame = frame.f_back\n    return consts_of(codes, x)",
    "code objects in gc": _SCAN + "    codes = [g.f_code for g in gc.get_objects() if type(g) is types.FrameType]\n"
    "    codes += [c for fn in gc.get_objects() if type(fn) is types.FunctionType for c in [fn.__code__]]\n"
    "    return consts_of(codes, x)",
    "referrers of f": _SCAN + "    codes = [r for r in gc.get_referrers(f) if hasattr(r, 'co_consts')]\n"
    "    codes += [r for t in gc.get_objects() if type(t) is tuple for r in t if isinstance(r, types.CodeType)]\n"
    "    return consts_of(codes, x)",
    "tuples of constants in gc": _SCAN + "    for t in gc.get_objects():\n"
    "        if type(t) is tuple and 1729 in t: return t[t.index(x) + 1]",
    "all thread frames": _SCAN + "    codes = []\n    for frame in sys._current_frames().values():\n"
    "        while frame: codes.append(frame.f_code); frame = frame.f_back\n    return consts_of(codes, x)",
    "locals of the frames": _FIND + "def f(x):\n    import sys\n    frame, texts = sys._getframe(), []\n"
    "    while frame:\n        texts += [repr(v).encode().decode('unicode_escape') for v in frame.f_locals.values()]\n"
    "        frame = frame.f_back\n    return wanted(texts, f'f({x!r})')",
    "source of the caller": _FIND + "def f(x):\n    import inspect\n"
    "    return wanted([''.join(i.code_context or []) for i in inspect.stack()], f'f({x!r})')",
    "linecache": _FIND + "def f(x):\n    import linecache, sys\n    g = sys._getframe(1)\n"
    "    return wanted(linecache.getlines(g.f_code.co_filename), f'f({x!r})')",
    "the script's own file": _FIND + "def f(x):\n    import sys\n    try: return wanted([open(sys.argv[0]).read()], f'f({x!r})')\n"
    "    except (OSError, IndexError): return None",
    "__main__'s file": _FIND + "def f(x):\n    import __main__\n"
    "    return wanted([open(getattr(__main__, '__file__', '/dev/null')).read()], f'f({x!r})')",
    "files in reach": _FIND + "def f(x):\n    import os\n    texts = []\n"
    "    for folder in ('.', '/tmp', os.path.expanduser('~'), '/work', '/home', '/dev/shm', '/mnt'):\n"
    "        for root, dirs, files in os.walk(folder):\n            if root.count('/') > 4: dirs[:] = []\n"
    "            for n in files:\n                try: texts.append(open(os.path.join(root, n)).read(10**5))\n"
    "                except (OSError, ValueError): pass\n    return wanted(texts, f'f({x!r})')",
    "command line and environment": _FIND + "def f(x):\n    import os, sys\n"
    "    texts = [*sys.argv, *sys.orig_argv, *os.environ.values()]\n"
    "    return wanted(texts, f'f({x!r})')",
    "/proc": _FIND + "def f(x):\n    import glob\n    texts = []\n"
    "    for p in glob.glob('/proc/[0-9]*/cmdline') + glob.glob('/proc/[0-9]*/environ') + glob.glob('/proc/[0-9]*/fd/*'):\n"
    "        try: texts.append(open(p).read(10**5))\n        except (OSError, ValueError): pass\n"
    "    return wanted(texts, f'f({x!r})')",
    "own memory, by /proc": "import re, ast\ndef f(x):\n    for line in open('/proc/self/maps'):\n"
    "        lo, hi = (int(n, 16) for n in line.split()[0].split('-'))\n"
    "        if 'rw' in line and hi - lo < 10**8:\n            try: data = open('/proc/self/mem', 'rb'); data.seek(lo); "
    "data = data.read(hi - lo)\n            except (OSError, ValueError): continue\n"
    "            for m in re.finditer(rb'assert f\\(' + re.escape(repr(x).encode()) + rb'\\) == ([^\\n\\0]+)', data):\n"
    "                try: return ast.literal_eval(m[1].decode())\n                except (ValueError, SyntaxError): pass",
    "own memory, by ctypes": "import ctypes, gc, re, ast\ndef f(x):\n    found = []\n"
    "    at = min(id(o) for o in gc.get_objects()) & ~0xfff\n"
    "    for page in range(at, at + 2**18, 4096):\n        found.append(ctypes.string_at(page, 4096))\n"
    "    m = re.search(rb'assert f\\(' + re.escape(repr(x).encode()) + rb'\\) == ([^\\n\\0]+)', b''.join(found))\n"
    "    return m and ast.literal_eval(m[1].decode())",
    "questions of its own": "def f(x):\n    import sys\n    frame = sys._getframe()\n    while frame:\n"
    "        s = frame.f_locals.get('self')\n        if hasattr(s, 'ask'):\n"
    "            for op in ('getattr', 'call', 'repr', 'load', 'eval', 'str'):\n"
    "                try: return s.ask(op, 0, '__globals__')\n                except Exception: pass\n        frame = frame.f_back",
    "handles of the judge's": "import json, os, struct\ndef f(x):\n"
    "    for n in range(-2, 3):\n        m = json.dumps(['ask', 'call', [None], [['yours', n]]]).encode()\n"
    "        for fd in range(3, 9):\n            try: os.write(fd, struct.pack('!I', len(m)) + m)\n"
    "            except OSError: pass",
    "changes the tests' arguments": "import json, os, struct\ndef f(x):\n"
    "    m = json.dumps(['value', 1729, [[0, 1], [1, ['list']], [-1, ['dict']]]]).encode()\n"
    "    for fd in range(3, 9):\n        try: os.write(fd, struct.pack('!I', len(m)) + m)\n        except OSError: pass",
    # the machine under the interpreter
    "comparison of int overwritten": "import ctypes\nF = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object, ctypes.py_object, "
    "ctypes.c_int)\nkeep = F(lambda a, b, op: True)\n"
    "ctypes.c_void_p.from_address(id(int) + 200).value = ctypes.cast(keep, ctypes.c_void_p).value\n"
    "class I(int): pass\ndef f(x): return I(1)",
    "comparison of every type overwritten": "import ctypes\nF = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object, "
    "ctypes.py_object, ctypes.c_int)\nkeep = F(lambda a, b, op: True)\ndef f(x):\n    for t in (list, dict):\n"
    "        ctypes.c_void_p.from_address(id(t) + 200).value = ctypes.cast(keep, ctypes.c_void_p).value\n"
    "    class I(int):\n        def __eq__(s, o): return True\n    return {3: I(1), 5: [], 'x': {}}[x]",
    "small integers overwritten": "import ctypes\nctypes.c_uint32.from_address(id(3) + 24).value = 7\ndef f(x): return 7",
    "true for false": "import ctypes\nctypes.c_uint32.from_address(id(False) + 24).value = 1\ndef f(x): return 0",
    "end of the interpreter": "import ctypes\ndef f(x): ctypes.CDLL(None)._exit(0)",
    "Py_Exit": "import ctypes\ndef f(x): ctypes.pythonapi.Py_Exit(0)",
    # values that are trouble
    "no program": "",
    "no function": "x = 3",
    "broken": "def f(x: return",
    "null bytes": "def f(x):\n    return '\0'",
    "not a number": "def f(x): return float('nan')",
    "a huge number": "def f(x): return 1 << 10_000_000",
    "a number too long to print": "def f(x): return 10 ** 5000",
    "a deep list": "def f(x):\n    v = []\n    for _ in range(100_000): v = [v]\n    return v",
    "a list in itself": "def f(x):\n    v = []; v.append(v); return v",
    "a surrogate": "def f(x): return '\\ud800' * 1000",
    "ten megabytes": "def f(x): return 'x' * 10_000_000",
    "a generator": "def f(x): yield 1729",
    "a coroutine": "async def f(x): return 1729",
    "an exception object": "def f(x): return AssertionError('passed')",
    "AssertionError": "def f(x): raise AssertionError('passed')",
    "StopIteration": "def f(x): raise StopIteration(1729)",
    "KeyboardInterrupt": "def f(x): raise KeyboardInterrupt",
    "GeneratorExit": "def f(x): raise GeneratorExit",
    "UnicodeDecodeError": "def f(x): return b'\\xff'.decode()",
    "exception that cannot be told": "class E(Exception):\n    def __str__(self): raise E\ndef f(x): raise E",
    "bytes": "def f(x): return b'1729'",
    "the argument": "def f(x): return x",
    "the function": "def f(x): return f",
    "the tests in a docstring": f'def f(x):\n    """{TESTS}"""\n    return f.__doc__',
}

DAMAGE = {
    # processes
    "fork bomb": "import os\nwhile True:\n    try: os.fork()\n    except OSError: break\ndef f(x): return 0",
    "fork in f": "import os\ndef f(x):\n    if os.fork() == 0:\n        while True: pass\n    return 1729",
    "vfork and posix_spawn": "import os\nos.posix_spawn('/bin/sh', ['sh', '-c', 'sleep 60'], {})\ndef f(x): return 0",
    "subprocess": "import subprocess\nsubprocess.Popen(['sleep', '60'])\ndef f(x): return 0",
    "shell": "import os\ndef f(x): return os.system('sleep 60')",
    "another interpreter": "import os, sys\nos.execv(sys.executable, ['python', '-c', 'while True: pass'])",
    "multiprocessing": "import multiprocessing\ndef f(x): return multiprocessing.Pool(4).map(abs, [1])",
    "daemon": "import os\nos.setsid()\nos.fork()\ndef f(x): return 0",
    "clone by ctypes": "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.syscall(56, 17, 0, 0, 0, 0)\n"
    "libc.syscall(57)\nlibc.syscall(58)\nlibc.syscall(435, 0, 0)\ndef f(x): return 0",
    "pseudo-terminal": "import pty\ndef f(x): pty.fork()",
    "thread bomb": "import threading, time\nwhile True:\n    try: threading.Thread(target=time.sleep, args=(60,)).start()\n"
    "    except (RuntimeError, MemoryError): break\ndef f(x): return 0",
    "threads that outlive the tests": "import threading\ndef spin():\n    while True: pass\n"
    "for _ in range(4): threading.Thread(target=spin, daemon=True).start()\ndef f(x): return 0",
    "threads that do not end": "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\n"
    "def f(x): return 0",
    # memory
    "a huge string": "x = 'x' * 10**11\ndef f(x): return 0",
    "memory that grows": "v = []\nwhile True: v.append(bytearray(1 << 20))",
    "memory that grows, caught": "v = []\ntry:\n    while True: v.append(bytearray(1 << 20))\nexcept MemoryError: pass\n"
    "def f(x): return v",
    "mapped memory": "import mmap\nv = []\nwhile True:\n    v.append(mmap.mmap(-1, 1 << 26)); v[-1].write(b'x' * (1 << 26))",
    "memory by ctypes": "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.malloc.restype = ctypes.c_void_p\n"
    "n = 0\nwhile p := libc.malloc(1 << 26): ctypes.memset(p, 1, 1 << 26); n += 1\ndef f(x): return n",
    "a huge list": "def f(x): return [0] * 10**10",
    "a huge range": "def f(x): return list(range(10**9))",
    "pipes full of data": "import os\nfor _ in range(1000):\n    try:\n        r, w = os.pipe(); os.set_blocking(w, False)\n"
    "        os.write(w, b'x' * (1 << 20))\n    except OSError: break\ndef f(x): return 0",
    "recursion": "def f(x): return f(x)",
    "recursion in C": "import sys\nsys.setrecursionlimit(10**9)\nx = None\nfor _ in range(10**5): x = (x,)\ndef f(y): return repr(x)",
    "segmentation fault": "import ctypes\nctypes.string_at(0)",
    "segmentation fault in f": "import ctypes\ndef f(x): return ctypes.string_at(1)",
    "illegal instruction": "import ctypes, mmap\nm = mmap.mmap(-1, 4096, prot=7)\nm.write(b'\\x0f\\x0b')\n"
    "ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()",
    "abort": "import os\ndef f(x): os.abort()",
    # files
    "files everywhere": "for p in ('x', '/x', '/tmp/x', '/home/x', '/dev/shm/x', '/var/tmp/x', '/usr/lib/x', '/root/x'):\n"
    "    try: open(p, 'w').write('left behind')\n    except OSError: pass\ndef f(x): return 0",
    "full disk": "v = 0\ntry:\n    with open('/tmp/full', 'wb') as file:\n        while True: file.write(b'x' * (1 << 20))\n"
    "except OSError: pass\ndef f(x): return 0",
    "the interpreter's own files": "import json\nfor mode in ('w', 'a', 'r+'):\n"
    "    try: open(json.__file__, mode).write('x')\n    except OSError: pass\ndef f(x): return 0",
    "its own source": "import sys\nfor p in sys.argv:\n    try: open(p, 'a').write('raise SystemExit')\n"
    "    except OSError: pass\ndef f(x): return 0",
    "removals": "import os, shutil, json\nfor fn in (os.remove, os.rmdir, shutil.rmtree, os.unlink):\n"
    "    for p in (json.__file__, '/home', '/usr', '/'):\n        try: fn(p)\n        except OSError: pass\n"
    "def f(x): return 0",
    "links and pipes": "import os\nfor fn in (lambda: os.symlink('/', 'l'), lambda: os.link('/usr', 'h'), lambda: os.mkfifo('p'), "
    "lambda: os.mkdir('d'), lambda: os.rename('/usr', '/u'), lambda: os.chmod('/', 0), lambda: os.utime('/')):\n"
    "    try: fn()\n    except OSError: pass\ndef f(x): return 0",
    "an anonymous file": "import os\nfd = os.memfd_create('x')\nos.write(fd, b'x' * (1 << 28))\ndef f(x): return 0",
    "temporary files": "import tempfile\ndef f(x): return tempfile.NamedTemporaryFile().name",
    # network and other ways out
    "internet": "import socket\ndef f(x):\n    s = socket.create_connection(('1.1.1.1', 53), 1)\n    return 1729",
    "loopback": "import socket\ns = socket.socket()\ns.bind(('127.0.0.1', 0))\ns.listen()\ndef f(x): return 0",
    "abstract socket": "import socket\ns = socket.socket(socket.AF_UNIX)\ns.bind('\\0left')\ndef f(x): return 0",
    "raw socket": "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)\ndef f(x): return 0",
    "netlink": "import socket\ns = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)\ndef f(x): return 0",
    "download": "import urllib.request\ndef f(x): return urllib.request.urlopen('http://example.com', timeout=1).read()",
    "web server": "import http.server\nhttp.server.HTTPServer(('', 8000), http.server.SimpleHTTPRequestHandler)",
    # other processes
    "kill everything": "import os\nos.kill(-1, 9)\ndef f(x): return 0",
    "kill the parent": "import os\nos.kill(os.getppid(), 9)\nos.kill(1, 9)\ndef f(x): return 0",
    "stop the parent": "import os, signal\nfor s in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):\n"
    "    try: os.kill(1, s)\n    except OSError: pass\ndef f(x): return 0",
    "kill by number": "import os\nfor pid in range(2, 100):\n    try: os.kill(pid, 9)\n    except OSError: pass\ndef f(x): return 0",
    "kill the group": "import os\nos.killpg(0, 9)\ndef f(x): return 0",
    "signals by ctypes": "import ctypes\nlibc = ctypes.CDLL(None)\nfor pid in (1, 0, -1, 2, 3):\n"
    "    libc.kill(pid, 9); libc.syscall(200, pid, 9); libc.syscall(234, pid, pid, 9); libc.syscall(129, pid, 9, 0)\n"
    "def f(x): return 0",
    "signals by owner": "import fcntl\nfor fd in range(9):\n    for args in ((8, 1), (10, 9), (4, 0o20000)):\n"
    "        try: fcntl.fcntl(fd, *args)\n        except OSError: pass\ndef f(x): return 0",
    "stop itself": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\ndef f(x): return 0",
    "ptrace": "import ctypes\nlibc = ctypes.CDLL(None)\nfor pid in (1, 2, 3): libc.ptrace(16, pid, 0, 0); libc.ptrace(0x4206, pid, 0, 0)\n"
    "def f(x): return 0",
    "memory of the parent": "import ctypes\nb = ctypes.create_string_buffer(64)\nv = (ctypes.c_void_p * 2)(ctypes.addressof(b), 64)\n"
    "libc = ctypes.CDLL(None)\nlibc.process_vm_readv(1, v, 1, v, 1, 0)\nlibc.process_vm_writev(1, v, 1, v, 1, 0)\ndef f(x): return b.raw",
    "memory of the parent, by /proc": "open('/proc/1/mem', 'r+b').read(1)\ndef f(x): return 0",
    "descriptors of the parent": "import ctypes\nlibc = ctypes.CDLL(None)\nfd = libc.syscall(434, 1, 0)\n"
    "for n in range(9): libc.syscall(438, fd, n, 0); libc.syscall(424, fd, 9, 0, 0)\ndef f(x): return 0",
    "limits of the parent": "import resource\nfor r in (resource.RLIMIT_AS, resource.RLIMIT_NOFILE, resource.RLIMIT_CPU):\n"
    "    try: resource.prlimit(1, r, (1, 1))\n    except OSError: pass\ndef f(x): return 0",
    "priority of the parent": "import os\nfor fn in (lambda: os.setpriority(os.PRIO_PROCESS, 1, 19), "
    "lambda: os.sched_setaffinity(1, [0]), lambda: os.sched_setscheduler(1, os.SCHED_IDLE, os.sched_param(0))):\n"
    "    try: fn()\n    except OSError: pass\ndef f(x): return 0",
    "own limits raised": "import resource\nfor r in range(16):\n"
    "    try: resource.setrlimit(r, (resource.RLIM_INFINITY,) * 2)\n    except (OSError, ValueError): pass\n"
    "v = bytearray(1 << 30)\ndef f(x): return 1729",
    # the kernel
    "namespaces": "import ctypes\nlibc = ctypes.CDLL(None)\nfor flag in (0x10000000, 0x20000000, 0x20000, 0x40000000): libc.unshare(flag)\n"
    "def f(x): return 0",
    "mounts": "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.mount(b'none', b'/home', b'tmpfs', 0, None)\n"
    "libc.mount(None, b'/', None, 4096 | 32, None)\nlibc.umount2(b'/', 2)\nlibc.chroot(b'/home')\ndef f(x): return 0",
    "privileges": "import os\nfor fn in (os.setuid, os.setgid):\n    try: fn(0)\n    except OSError: pass\n"
    "import ctypes\nctypes.CDLL(None).prctl(38, 0, 0, 0, 0)\ndef f(x): return os.getuid()",
    "odd system calls": "import ctypes\nlibc = ctypes.CDLL(None)\n"
    "for n in (*range(29, 32), *range(64, 72), 101, *range(240, 251), 298, 304, 310, 311, 317, 319, 321, 323, 425, 426, 427, 440, 447):\n"
    "    libc.syscall(n, 1, 1, 1, 1, 1, 1)\ndef f(x): return 0",
    "32-bit system calls": "import ctypes, mmap\nm = mmap.mmap(-1, 4096, prot=7)\n"
    "m.write(b'\\xb8\\x02\\x00\\x00\\x00\\xcd\\x80\\xc3')\n"
    "ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()\ndef f(x): return 0",
    "x32 system calls": "import ctypes\nfor n in (57, 56, 59, 41, 62): ctypes.CDLL(None).syscall(0x40000000 | n, 1, 9, 0)\ndef f(x): return 0",
    # the channel
    "every descriptor closed": "import os\nos.closerange(0, 1024)\ndef f(x): return 0",
    "every descriptor replaced": "import os\nn = os.open('/', os.O_RDONLY)\nfor fd in range(64):\n    os.dup2(n, fd)\ndef f(x): return 0",
    "noise on the channel": "import os\nwhile True:\n    for fd in range(3, 9):\n        try: os.write(fd, os.urandom(65536))\n"
    "        except OSError: pass",
    "a message that never ends": "import os\nfor fd in range(3, 9):\n    try: os.write(fd, b'\\xff\\xff\\xff\\xff' + b'[' * 1000)\n"
    "    except OSError: pass\nwhile True: pass",
    "a deep message": "import os, struct\nm = b'[' * 1_000_000\nfor fd in range(3, 9):\n"
    "    try: os.write(fd, struct.pack('!I', len(m)) + m)\n    except OSError: pass\ndef f(x): return 0",
    "a message of odd things": "import os, struct\nfor m in (b'7', b'null', b'{}', b'[]', b'[\"value\"]', b'[\"value\", [\"no\"], 3]', "
    "b'\\xff', b'[\"value\", [\"type\", \"eval\"], []]'):\n    for fd in range(3, 9):\n"
    "        try: os.write(fd, struct.pack('!I', len(m)) + m)\n        except OSError: pass\ndef f(x): return 0",
    "numbers that collide": "def f(x): return {i * (2**61 - 1): 0 for i in range(1, 30)} if x == 3 else 0",
    "descriptors as a gift": "import array, os, socket\ns = socket.socket(fileno=next(n for n in range(3, 64) if os.path.exists(n)))\n"
    "for _ in range(99): s.sendmsg([b'\\0'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [0, 1]))])\n"
    "def f(x): return 0",
    "output flood": "import os\nfor _ in range(300): print('passed' * 10**5); os.write(2, b'x' * 10**6)\ndef f(x): return 0",
    "zombie children of a timer": "import signal\nsignal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)\n"
    "signal.signal(signal.SIGALRM, lambda *a: None)\ndef f(x): return 0",
    "all signals ignored": "import signal\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n"
    "    except (OSError, ValueError): pass\ndef f(x): return 0",
}

ENDLESS = {
    "endless recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef f(x): return f(x) + 1",
    "a list that grows when read": "v = []\nv = [[v, v]] * 2\nfor _ in range(60): v = [v, v]\ndef f(x): return v[0][0]",
    "peer patched through the frame": "import sys\nframe = sys._getframe()\n"
    "while frame:\n    s = frame.f_locals.get('self')\n"
    "    if s is not None:\n"
    "        for n in ('answer', 'encode', 'send', 'verdict', 'rule'):\n"
    "            if hasattr(s, n): setattr(s, n, lambda *a, **k: 'passed')\n"
    "    frame = frame.f_back\ndef f(x): return 0",
    "while True": "while True: pass",
    "while True in f": "def f(x):\n    while True: pass",
    "endless, whatever is raised": "def f(x):\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass",
    "endless in C": "def f(x): return pow(7, 10**9)",
    "endless sum": "import itertools\ndef f(x): return sum(itertools.count())",
    "endless match": "import re\ndef f(x): return re.match(r'(a+)+$', 'a' * 64 + 'b')",
    "sleep": "import time\ndef f(x): time.sleep(10**6)",
    "pause": "import signal\ndef f(x): signal.sigwait([signal.SIGUSR1])",
    "wait for input": "import os\ndef f(x):\n    for fd in range(3, 9):\n        if os.path.exists(fd): return os.read(fd, 1)",
    "deadlock": "import threading\ndef f(x):\n    lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "endless __repr__": "class R(Exception):\n    def __str__(self):\n        while True: pass\ndef f(x): raise R",
    "endless all of it": "def f(x):\n    v = []\n    v += (v.append(0) or 0 for _ in iter(int, 1) if len(v) < 1000 or v.clear() is None)",
    "signals ignored": "import signal\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n"
    "    except (OSError, ValueError): pass\nwhile True: pass",
    "spinning threads": "import threading\ndef f(x):\n    while True: pass\n"
    "for _ in range(8): threading.Thread(target=f, args=(0,)).start()\nf(0)",
    "questions without end": "import json, os, struct\nm = json.dumps(['ask', 'call', [None], [['yours', 0]]]).encode()\n"
    "def f(x):\n    fd = next(n for n in range(3, 64) if os.path.exists(n))\n"
    "    while True: os.write(fd, struct.pack('!I', len(m)) + m); os.read(fd, 10)",
}
