"""What the splits of house rules and library give away: nothing that is checked, a little that is measured.

`find_leaks` lists violations of the splits' promises; the stage refuses to write a testbed that has any. The measures
say what no list can promise: how far the look of a question leads to its precedent, and its words to its structure.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from rarft.testbed.cases import PARTS, Item

ASKED = ("train", "eval", "eval-seen")


def find_leaks(made: Mapping[str, Sequence[Item]]) -> list[str]:
    """Every way in which the splits are not what they promise, each in a sentence; empty when they are."""
    found: list[str] = []
    seen: dict[str, str] = {}
    used: dict[str, str] = {}
    for part, role in PARTS.items():
        for item in made[part]:
            if item.question in seen:
                found.append(f"{part} repeats a question of {seen[item.question]}: {item.question}")
            seen[item.question] = part
            for telling in item.tellings:
                if used.setdefault(telling, role) != role:
                    found.append(f"{part} tells in the words of {used[telling]}: {telling}")
    known = {item.structure for item in made["train"]}
    found += [f"evaluation knows {s} from training" for s in sorted({i.structure for i in made["eval"]} & known)]
    found += [f"training lacks {s}" for s in sorted({i.structure for i in made["eval-seen"]} - known)]
    told = defaultdict(set)
    for item in made["corpus"]:
        told[item.place].add(item.structure)
    precedents = set().union(*told.values())
    for part in ASKED:
        for item in made[part]:
            if item.structure in told[item.place]:
                found.append(f"the corpus has {item.structure} at the place of a {part} problem: {item.question}")
            if item.structure not in precedents:
                found.append(f"the corpus has no precedent for a {part} problem: {item.question}")
            if not told[item.place]:
                found.append(f"the corpus has no look-alike for a {part} problem: {item.question}")
    return found


def lexical_recall(made: Mapping[str, Sequence[Item]], elsewhere: bool = False) -> float:
    """R@1 on `eval` of the corpus question with the most similar TF-IDF vector.

    Args:
        elsewhere: of those at other places, for who knows that none at the same place helps.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(sublinear_tf=True)
    corpus = vectorizer.fit_transform([item.question for item in made["corpus"]])
    asked = vectorizer.transform([item.question for item in made["eval"]])
    alike = (asked @ corpus.T).toarray()
    if elsewhere:
        alike -= [[2 * (told.place == item.place) for told in made["corpus"]] for item in made["eval"]]
    best = alike.argmax(axis=1)
    hits = [made["corpus"][b].structure == item.structure for b, item in zip(best, made["eval"], strict=True)]
    return sum(hits) / len(hits)


def structures_by_words(made: Mapping[str, Sequence[Item]], part: str) -> list[str]:
    """The structure of training that naive Bayes, fitted on training's words, takes each item of `part` for."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(TfidfVectorizer(sublinear_tf=True), MultinomialNB(alpha=0.05))
    model.fit([item.question for item in made["train"]], [item.structure for item in made["train"]])
    return [str(name) for name in model.predict([item.question for item in made[part]])]
