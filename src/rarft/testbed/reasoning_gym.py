"""Problems and traces outside mathematics: reasoning-gym tasks, with solutions written out step by step.

`rarft reasoning-gym --families knights_knaves course_schedule --output DIR`

    DIR/train/   problems.jsonl, traces.jsonl   what the policy trains on, each with its own solution
    DIR/eval/    problems.jsonl, traces.jsonl   what it is evaluated on, and solutions to label with
    DIR/corpus/  traces.jsonl                   worked examples to retrieve

Any family of reasoning-gym gives problems; those in `SOLVERS` give traces too. A problem's `kind` is its family, its
`metadata` what the family's scorer needs; use `reward: reasoning-gym`. Questions of one family share a template, so
these problems do not go through `rarft prepare`, whose n-gram check would drop them all; no question occurs twice.
Needs `pip install "rarft[reasoning-gym]"`. Left out: curricula, families whose solution is a search no one would write.
"""

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

from rarft.core.config import Config, Count, Seed
from rarft.core.errors import InputError
from rarft.core.estimate import Estimate, Known, Sizes
from rarft.core.progress import log
from rarft.core.stages import Work, stage
from rarft.records.problems import Problem, Trace
from rarft.records.rows import write_jsonl


class ReasoningGymConfig(Config):
    """Generate reasoning-gym problems and traces."""

    families: list[str] = ["knights_knaves", "course_schedule"]
    """Task families; traces exist for knights_knaves, course_schedule, gcd, letter_counting and tower_of_hanoi."""
    n_train: Count = 400
    """Training problems, shared evenly among the families."""
    n_eval: Count = 100
    """Evaluation problems, shared evenly."""
    n_corpus: Count = 400
    """Traces to retrieve, shared evenly among the families that have traces."""
    options: dict[str, dict[str, Any]] = {}
    """Family: the options of its generator, as {knights_knaves: {n_people: 3}}."""
    seed: Seed = 0
    """Seed of every random choice."""


def estimate(config: ReasoningGymConfig, known: Known) -> Estimate:
    """Problems and traces that are generated."""
    makes = {
        "train": Sizes(config.n_train, config.n_train),
        "eval": Sizes(config.n_eval, config.n_eval),
        "corpus": Sizes(None, config.n_corpus),
    }
    return Estimate({"problems": config.n_train + config.n_eval, "traces": config.n_corpus}, makes)


@stage("reasoning-gym", "generate planning, logic and algorithm problems", place=95, estimate=estimate)
def make_reasoning_gym(config: ReasoningGymConfig, work: Work) -> None:
    """Write problems of reasoning-gym families, and traces with their solutions.

    Raises:
        InputError: reasoning-gym is not installed, an unknown family or option, too few different problems, or no
            family with traces.
    """
    solved = [family for family in config.families if family in SOLVERS]
    if not solved:
        raise InputError(f"families: none of them has traces; add one of {', '.join(SOLVERS)}")
    unknown = set(config.options) - set(config.families)
    if unknown:
        raise InputError(f"options: {sorted(unknown)[0]} is not among the families")
    parts: dict[str, list[dict[str, Any]]] = {"train": [], "eval": [], "corpus": []}
    for number, family in enumerate(config.families):
        counts = {
            "train": _share(config.n_train, number, len(config.families)),
            "eval": _share(config.n_eval, number, len(config.families)),
            "corpus": _share(config.n_corpus, solved.index(family), len(solved)) if family in solved else 0,
        }
        tasks = _tasks(family, config.options.get(family, {}), config.seed * 1000 + number, sum(counts.values()))
        for part, count in counts.items():
            parts[part] += itertools.islice(tasks, count)
    for part, tasks_of_part in parts.items():
        folder = work.path / part
        folder.mkdir(exist_ok=True)
        named = [(f"{part}-{i:05d}", task) for i, task in enumerate(tasks_of_part)]
        if part != "corpus":
            write_jsonl(folder / "problems.jsonl", (_problem(name, task) for name, task in named))
        with_traces = [(name, task) for name, task in named if _family(task) in SOLVERS]
        write_jsonl(folder / "traces.jsonl", (_trace(name, task) for name, task in with_traces))
    work.results |= {f"n_{part}": len(tasks_of_part) for part, tasks_of_part in parts.items()}
    log(f"reasoning-gym: {', '.join(f'{len(found)} {part}' for part, found in parts.items())} of {config.families}")


def _share(total: int, index: int, parts: int) -> int:
    return total // parts + (index < total % parts)


def _tasks(family: str, options: dict[str, Any], seed: int, count: int) -> Iterator[dict[str, Any]]:
    """`count` different tasks of a family, whose scorer gives their own answer full marks."""
    try:
        import reasoning_gym
    except ImportError:
        raise InputError('reasoning-gym is not installed; run `pip install "rarft[reasoning-gym]"`') from None
    from rarft.rewards.reasoning_gym import ReasoningGymReward

    reward = ReasoningGymReward()
    try:
        dataset = reasoning_gym.create_dataset(family, seed=seed, size=20 * count + 100, **options)
    except (ValueError, TypeError, AssertionError) as error:
        raise InputError(f"family {family}: {error}; see reasoning-gym for its families and options") from None
    seen: set[str] = set()
    for index in range(len(dataset)):
        if len(seen) == count:
            return
        try:
            task = dict(dataset[index])
        except (IndexError, ValueError, RuntimeError):  # some generators give up on some seeds
            continue
        task["question"] = task["question"].strip()
        task["metadata"] = json.dumps(task["metadata"], default=_plain)
        if task["question"] in seen or not str(task["answer"]).strip():
            continue
        if reward.score(str(task["answer"]), str(task["answer"]), task) < 1.0:
            continue  # what its own scorer does not accept cannot be trained on
        seen.add(task["question"])
        yield task
    if len(seen) < count:
        raise InputError(f"family {family}: only {len(seen)} different problems were found, {count} are asked for")


def _plain(value: Any) -> Any:
    """numpy scalars, sets and dates as JSON has them."""
    if hasattr(value, "item"):
        return value.item()
    return sorted(value) if isinstance(value, (set, frozenset)) else str(value)


def _family(task: dict[str, Any]) -> str:
    return str(json.loads(task["metadata"])["source_dataset"])


def _problem(name: str, task: dict[str, Any]) -> Problem:
    return Problem(
        name, task["question"], str(task["answer"]), _family(task), "reasoning-gym", {"metadata": task["metadata"]}
    )


def _trace(name: str, task: dict[str, Any]) -> Trace:
    answer = str(task["answer"])
    steps = SOLVERS[_family(task)](json.loads(task["metadata"]), answer)
    solution = "\n".join([*steps, f"The answer is \\boxed{{{answer}}}."])
    return Trace(name, task["question"], solution, answer, _family(task), "reasoning-gym")


# Solutions written out


def knights_knaves(metadata: dict[str, Any], answer: str) -> Iterator[str]:
    """Try every case: a truth-teller's statement must hold, a liar's must not."""
    from reasoning_gym.logic.knights_knaves import KnightsKnavesDataset

    names, statements = metadata["names"], metadata["statements"]
    roles = {True: metadata["knight_knave_terms"]["a_knight"], False: metadata["knight_knave_terms"]["a_knave"]}
    for case in itertools.product([True, False], repeat=len(names)):
        text = "Suppose " + ", ".join(f"{name} is {roles[honest]}" for name, honest in zip(names, case, strict=True))
        for name, honest, statement in zip(names, case, statements, strict=True):
            holds = bool(KnightsKnavesDataset.test_satisfiability(statement, case))
            text += f". Then what {name} says is {'true' if holds else 'false'}"
            if holds != honest:
                text += f", but {roles[honest]} would not say it. Impossible."
                break
            text += ", as it must be"
        else:
            yield text + ". Possible."
            return
        yield text


def course_schedule(metadata: dict[str, Any], answer: str) -> Iterator[str]:
    """Take any course whose prerequisites are done, until none is left or none can be taken."""
    needs: dict[int, set[int]] = {course: set() for course in sorted(metadata["courses"])}
    for course, before in metadata["prerequisites"]:
        needs[course].add(before)
    while needs:
        ready = [course for course, before in needs.items() if not before]
        if not ready:
            waits = "; ".join(f"{course} needs {', '.join(map(str, sorted(b)))}" for course, b in needs.items())
            yield f"Nothing can be taken any more: {waits}. They wait for each other, so the rest is impossible."
            return
        yield f"No open prerequisites: {', '.join(map(str, ready))}. Take them."
        needs = {course: before - set(ready) for course, before in needs.items() if course not in ready}
    yield "Every course is taken."


def gcd(metadata: dict[str, Any], answer: str) -> Iterator[str]:
    """Euclid's algorithm, number after number."""
    first, *rest = metadata["numbers"]
    for second in rest:
        a, b = max(first, second), min(first, second)
        yield f"Find gcd({a}, {b}) by dividing with remainder."
        while b:
            yield f"{a} = {a // b} * {b} + {a % b}"
            a, b = b, a % b
        yield f"The last remainder above 0 is {a}, so the gcd is {a}."
        first = a


def letter_counting(metadata: dict[str, Any], answer: str) -> Iterator[str]:
    """Go word by word with a running total."""
    total, letter = 0, metadata["target_letter"].lower()
    for word in metadata["span"]:
        count = word.lower().count(letter)
        total += count
        yield f"{word}: {count}, total {total}"


def tower_of_hanoi(metadata: dict[str, Any], answer: str) -> Iterator[str]:
    """The moves, with the pegs after each."""
    pegs: dict[int, list[int]] = {peg: [] for peg in range(1, metadata["num_pegs"] + 1)}
    pegs[metadata["start_peg"]] = list(range(metadata["num_disks"], 0, -1))
    yield "To free the largest disk, the smaller ones must stand on another peg; move them there in the same way."
    for move in answer.splitlines():
        words = move.replace(",", " ").split()
        source, target = int(words[5]), int(words[8])
        pegs[target].append(pegs[source].pop())
        state = "; ".join(f"Peg {peg}: {' '.join(map(str, disks)) or 'empty'}" for peg, disks in pegs.items())
        yield f"{move}. Now {state}."


SOLVERS: dict[str, Callable[[dict[str, Any], str], Iterator[str]]] = {
    "knights_knaves": knights_knaves,
    "course_schedule": course_schedule,
    "gcd": gcd,
    "letter_counting": letter_counting,
    "tower_of_hanoi": tower_of_hanoi,
}
"""Family -> its solution step by step, from a task's metadata and answer."""
