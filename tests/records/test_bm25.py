"""BM25 against its formula."""

import numpy as np

from rarft.records.bm25 import BM25

WORDS = ["circle", "area", "prime", "sum", "digits", "angle", "train", "speed", "coin", "dice"]


def text(i: int) -> str:
    return " ".join(WORDS[(i * k + i // 3) % len(WORDS)] for k in range(3, 6 + i % 5))


def test_bm25_equals_the_formula() -> None:
    texts = [text(i) for i in range(40)]
    query = "circle area area prime nowhere"
    docs = [t.split() for t in texts]
    average = sum(map(len, docs)) / len(docs)
    expected = []
    for doc in docs:
        total = 0.0
        for word in set(query.split()):
            n = sum(word in other for other in docs)
            f = doc.count(word)
            if n:
                idf = np.log(1 + (len(docs) - n + 0.5) / (n + 0.5))
                total += idf * f * 2.2 / (f + 1.2 * (0.25 + 0.75 * len(doc) / average))
        expected.append(total)
    assert np.allclose(BM25(texts).scores([query])[0], expected)


def test_the_best_share_a_word_and_ties_go_to_the_earlier() -> None:
    bm25 = BM25(["red dog", "Blue cat", "blue cat", "green_cow 7"])
    found = bm25.top(["a BLUE dog", "cow", "zebra"], 2)
    assert [[place for place, _ in row] for row in found] == [[0, 1], [3], []]
    assert found[0] == [(i, float(bm25.scores(["a BLUE dog"])[0, i])) for i in (0, 1)]
    assert bm25.top(["blue"], 9)[0][0][0] == 1 and len(bm25.top(["blue"], 9)[0]) == 2
