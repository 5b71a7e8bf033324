"""House rules: situations at places, each handled by a rule that nothing in the question states.

"The keeper's cottage at Gannet Light is a small hotel now, though the foghorn still sounds over the cliff. A tray
slipped, and 9 plates were broken. How many coins is that under the house rule?" Nobody can know. But what another place
made of its broken cups has the rule written out:

    House rule: 4 for each, 7 on top. 6 * 4 = 24. 24 + 7 = 31. \\boxed{31}

The rules are dealt out by the seed, and dealt again for another house, whose questions are the same. Left out: rules of
more than two steps, and questions in which two rules meet.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

from rarft.testbed.cases import PARTS, Item, deal_tellings, fill, split, write_parts
from rarft.testbed.config import TestbedConfig
from rarft.testbed.house_rules.places import GUESTS, PLACES, QUESTION
from rarft.testbed.house_rules.rules import NUMBERS, Rule, deal_rules, numbers_only_accuracy
from rarft.testbed.house_rules.situations import SITUATIONS
from rarft.testbed.leaks import find_leaks, lexical_recall, structures_by_words

Turns = Mapping[str, Iterator[str]]


def write_house_rules(config: TestbedConfig, output: Path) -> dict[str, Any]:
    """Write the folders that the testbed stage describes; return their sizes and what is measured of them.

    Raises:
        InputError: more problems are asked for than there are.
    """
    made = generate(config)
    found = find_leaks(made)
    if found:
        raise RuntimeError(f"the generated splits leak: {found[0]}")
    return write_parts(made, output) | {
        "n_structures": len({item.structure for item in made["corpus"]}),
        "n_places": len({item.place for items in made.values() for item in items}),
        "lexical_recall": round(lexical_recall(made), 4),
        "lexical_recall_elsewhere": round(lexical_recall(made, elsewhere=True), 4),
        "guesses": guesses(made),
    }


def generate(config: TestbedConfig) -> dict[str, list[Item]]:
    """The items of `train`, `eval`, `eval-seen` and `corpus`, and the last three again under another house's rules.

    Raises:
        InputError: more problems are asked for than there are.
    """
    rng = random.Random(config.seed)
    situations = rng.sample(list(SITUATIONS), len(SITUATIONS))
    unseen, known = situations[: len(situations) // 3], situations[len(situations) // 3 :]
    dealt = split(known, unseen, list(PLACES), rng)
    tellings = deal_tellings(SITUATIONS, unseen, rng)
    house, other_house = deal_rules(situations, rng)
    sizes = {"train": config.n_train, "eval": config.n_eval, "eval-seen": config.n_eval, "corpus": config.n_corpus}
    made: dict[str, list[Item]] = {}
    for part, count in sizes.items():
        role = PARTS[part]

        turns = {situation: cycle(texts) for situation, texts in tellings[role].items()}  # all before one comes again

        def make(situation: str, place: str, rng: random.Random, role: str = role, turns: Turns = turns) -> Item:
            return make_item(situation, place, role, next(turns[situation]), house[situation], rng)

        made[part] = fill(part, count, dealt, make, config.seed)
    for part in ("eval", "eval-seen", "corpus"):
        made[f"swapped/{part}"] = [under(item, other_house) for item in made[part]]
    return made


def make_item(situation: str, place: str, role: str, telling: str, rule: Rule, rng: random.Random) -> Item:
    """Tell one problem: an opening of the place, the telling of the situation, and what is asked."""
    openings = PLACES[place][:2] if role == "corpus" else PLACES[place][2:]
    n = rng.choice(NUMBERS)
    told = telling.format(n=n, who=rng.choice(GUESTS))
    question = " ".join([rng.choice(openings), told, QUESTION])
    columns = {"number": n, "rule": str(rule)}
    return Item(question, rule.solution(n), str(rule.answer(n)), situation, place, (telling,), "house-rules", columns)


def under(item: Item, rules: Mapping[str, Rule]) -> Item:
    """The same question under other rules."""
    rule, n = rules[item.structure], item.columns["number"]
    columns = {"number": n, "rule": str(rule)}
    return replace(item, solution=rule.solution(n), answer=str(rule.answer(n)), columns=columns)


def guesses(made: Mapping[str, Sequence[Item]]) -> dict[str, dict[str, float]]:
    """Part -> accuracy of what can be answered without a precedent.

    - `majority`: always the most common answer of training,
    - `number`: the most common answer of training to the number asked about,
    - `words`: the rule of that situation of training whose words the question has most of,
    - `number_knowing_rules`: the best guess from the number for who knows the part's own rules. Nobody does; it bounds
      what the choice of rules and numbers can give away.
    """
    answers = Counter(item.answer for item in made["train"])
    by_number: dict[int, Counter[str | None]] = defaultdict(Counter)
    rules = {item.structure: Rule.parse(item.columns["rule"]) for item in made["train"]}
    for item in made["train"]:
        by_number[item.columns["number"]][item.answer] += 1
    majority = answers.most_common(1)[0][0]
    best = {number: counted.most_common(1)[0][0] for number, counted in by_number.items()}
    found = {}
    for part in ("eval", "eval-seen", "swapped/eval", "swapped/eval-seen"):
        items = made[part]
        recalled = structures_by_words(made, part.removeprefix("swapped/"))
        hits = {
            "majority": [item.answer == majority for item in items],
            "number": [item.answer == best.get(item.columns["number"]) for item in items],
            "words": [
                item.answer == str(rules[name].answer(item.columns["number"]))
                for item, name in zip(items, recalled, strict=True)
            ],
        }
        found[part] = {how: round(sum(right) / len(items), 4) for how, right in hits.items()}
        own = {item.structure: Rule.parse(item.columns["rule"]) for item in items}
        found[part]["number_knowing_rules"] = round(numbers_only_accuracy(own.values()), 4)
    return found
