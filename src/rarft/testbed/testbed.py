"""The testbed stage: problems whose gold analogies are known, in files that every other stage reads.

    rarft testbed --output DIR                          word problems, for a policy with random weights
    rarft testbed --domain house-rules --output DIR     situations and the rules that only precedents show
    rarft testbed --domain library --output DIR         Python tasks for a library that nobody knows

The word problems' folders: `rarft.testbed.word_problems.write`. Those of the other two:

    DIR/train/      problems.jsonl, traces.jsonl    what RL trains on, and labels are made for
    DIR/eval/       problems.jsonl, traces.jsonl    structures that training never had
    DIR/eval-seen/  problems.jsonl, traces.jsonl    structures of training, told in new words at new places
    DIR/corpus/     traces.jsonl                    precedents of all structures, at other places
    DIR/swapped/    eval, eval-seen and corpus again: the same questions in another house, which does it otherwise

Each folder can be given where a command takes problems or traces. A problem and its own solution share an id. Every row
has `structure`; docs/testbed.md describes the domains.
"""

from rarft.core.artifacts import Work, stage
from rarft.core.errors import InputError
from rarft.core.progress import log
from rarft.testbed.config import TestbedConfig
from rarft.testbed.house_rules.problems import write_house_rules
from rarft.testbed.word_problems.write import write_word_problems

EVERY_DOMAIN = {"domain", "n_train", "n_eval", "n_corpus", "seed"}


@stage("testbed")
def testbed(config: TestbedConfig, work: Work) -> None:
    """Write the problems and traces of a domain.

    Raises:
        InputError: sizes that cannot be met, or an option that the domain does not have.
    """
    others = sorted(config.model_fields_set - EVERY_DOMAIN)
    if others and config.domain != "word-problems":
        raise InputError(f"{others[0].replace('_', '-')} is an option of the word problems; {config.domain} has none")
    write = {"word-problems": write_word_problems, "house-rules": write_house_rules}[config.domain]
    work.results |= write(config, work.path)
    log(f"testbed: {', '.join(f'{k} {v}' for k, v in work.results.items())}")
