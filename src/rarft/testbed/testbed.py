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

Each folder can be given where a command takes what it holds. A problem and its own solution share an id. All but
exercises of the warm-up have `structure`; docs/testbed.md, docs/house-rules.md and docs/library.md have the domains.
"""

from rarft.core.errors import InputError
from rarft.core.estimate import Estimate, Known, Sizes
from rarft.core.progress import log
from rarft.core.stages import Work, stage
from rarft.testbed.config import TestbedConfig
from rarft.testbed.house_rules.problems import write_house_rules
from rarft.testbed.library.problems import write_library
from rarft.testbed.word_problems.write import write_word_problems

WRITE = {"word-problems": write_word_problems, "house-rules": write_house_rules, "library": write_library}
EVERY_DOMAIN = {"domain", "n_train", "n_eval", "n_corpus", "seed"}


def estimate(config: TestbedConfig, known: Known) -> Estimate:
    """Problems and traces that are generated."""
    asked, told = Sizes(config.n_eval, config.n_eval), Sizes(None, config.n_corpus)
    makes = {"train": Sizes(config.n_train, config.n_train), "eval": asked, "corpus": told}
    if config.domain == "word-problems":
        makes["warmup"] = Sizes(config.n_warmup, config.n_warmup)
    else:
        makes |= {"eval-seen": asked, "swapped/eval": asked, "swapped/eval-seen": asked, "swapped/corpus": told}
    problems = sum(sizes.problems or 0 for sizes in makes.values())
    return Estimate({"problems": problems, "traces": config.n_corpus}, makes)


@stage("testbed", "generate problems whose gold analogies are known", place=90, estimate=estimate, version=2)
def make_testbed(config: TestbedConfig, work: Work) -> None:
    """Write the problems and traces of a domain.

    Raises:
        InputError: sizes that cannot be met, or an option that the domain does not have.
    """
    others = sorted(config.model_fields_set - EVERY_DOMAIN)
    if others and config.domain != "word-problems":
        raise InputError(f"{others[0].replace('_', '-')} is an option of the word problems; {config.domain} has none")
    work.results |= WRITE[config.domain](config, work.path)
    log("testbed: {n_structures} structures, {n_train} problems to train on, {n_corpus} traces".format(**work.results))
