"""Benefit is relative: what a trace brings beyond the problem's other candidates.

Any worked example makes a solution likelier, by its form alone, and on a hard problem none makes it right. What a
retriever can learn is which trace brings more than the others do. So a gain is told in standard deviations of the
problem's own candidates, both taken robustly (median, and median absolute deviation times 1.4826: Iglewicz and Hoaglin,
1993), since what stands out must not set the scale by which it does.
"""

from collections.abc import Sequence

import numpy as np

PRIOR_PAIRS = 8
"""How many candidates' worth the spread of all problems counts in that of one."""


def deviations(gains: Sequence[Sequence[float]]) -> list[np.ndarray]:
    """How far each candidate's gain stands above the median of its problem, in robust standard deviations.

    A problem's variance is averaged with that of all problems, which counts as PRIOR_PAIRS candidates: a few candidates
    don't tell their spread.

    Args:
        gains: for each problem the gains of its candidates, in any unit.

    Returns:
        For each problem float64 `(candidates,)`; zeros where no gain differs from another.
    """
    if not gains:
        return []
    centred = [np.asarray(own, dtype=float) - np.median(own) for own in gains]
    sizes = np.array([len(own) for own in centred], dtype=float)
    variances = np.array([(1.4826 * np.median(np.abs(own))) ** 2 for own in centred])
    pooled = float(sizes @ variances / sizes.sum())
    scales = np.sqrt((sizes * variances + PRIOR_PAIRS * pooled) / (sizes + PRIOR_PAIRS))
    return [own / scale if scale > 0 else np.zeros_like(own) for own, scale in zip(centred, scales, strict=True)]
