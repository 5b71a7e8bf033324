"""Rewards that misbehave in every way a verifier can, for the tests of the pool. The answer says how."""

import ctypes
import os
import time

from rarft.rewards import Reward


class Odd(Reward):
    def extract(self, completion):
        return completion or None

    def score(self, gold, answer, extra):
        what, _, number = answer.partition(" ")
        if what == "sleep":
            time.sleep(float(number))
        elif what == "spin":  # one C call that holds the interpreter lock
            pow(7, 10**9)
        elif what == "hog":
            return float(len(bytearray(int(number))) < 0)
        elif what == "hog-quietly":
            try:
                bytearray(int(number))
            except MemoryError:
                return 0.0
        elif what == "crash":
            ctypes.string_at(0)
        elif what == "exit":
            os._exit(7)
        elif what == "raise":
            raise KeyError("no such thing")
        elif what == "recurse":
            return self.score(gold, answer, extra) + 1
        elif what == "print":
            print("noise that must not reach the pipe", flush=True)
            os.write(1, b'{"reward": 1.0}\n')
            return 0.0
        elif what == "say":
            pipe = max(int(name) for name in os.listdir("/proc/self/fd"))
            os.write(pipe, answer[4:].encode() + b"\n")
        elif what == "log":
            with open(gold, "a") as file:
                file.write(number + "\n")
            if int(number) % 10 == 3:
                os._exit(1)
        elif what == "extra":
            return float(extra[number])
        return 1.0


class Once(Odd):
    deterministic = False


class SlowStart(Odd):
    def warm_up(self):
        time.sleep(1.5)


class NoStart(Odd):
    def warm_up(self):
        raise RuntimeError("a library is missing")
