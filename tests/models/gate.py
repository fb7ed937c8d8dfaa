"""The accuracy gate's two log e-values, from the answers of stable and candidate to the same examples."""

from dataclasses import dataclass
from math import exp, log

BETS = (0.02, 0.05, 0.12, 0.3, 0.6, 0.95)
WEIGHTS = (0.1, 0.1, 0.15, 0.15, 0.2, 0.3)
DROP_MARGIN = 0.02
FAIL_AT = log(1 / (0.1 * 0.01))  # the gate has a tenth of alpha = .01
PASS_AT = log(1 / 0.05)  # beta


@dataclass(frozen=True)
class Pairs:
    n: int
    plus: int  # stable right, candidate wrong
    minus: int  # stable wrong, candidate right

    @property
    def rest(self):
        return self.n - self.plus - self.minus


def count(stable_right, candidate_right):
    pairs = list(zip(stable_right, candidate_right, strict=True))
    return Pairs(len(pairs), sum(s and not c for s, c in pairs), sum(c and not s for s, c in pairs))


def mixture(terms):
    """ln of the weighted sum of e^term."""
    highest = max(terms)
    return highest + log(sum(weight * exp(term - highest) for weight, term in zip(WEIGHTS, terms, strict=True)))


def fail_log(pairs, margin=DROP_MARGIN):
    """Evidence that the candidate's accuracy is more than `margin` below stable's."""
    stakes = [bet / (1 + margin) for bet in BETS]
    return mixture(
        [
            pairs.plus * log(1 + stake * (1 - margin))
            + pairs.minus * log(1 - stake * (1 + margin))
            + pairs.rest * log(1 - stake * margin)
            for stake in stakes
        ]
    )


def pass_log(pairs, margin=DROP_MARGIN):
    """Evidence that the candidate's accuracy is less than `margin` below stable's."""
    stakes = [bet / (1 - margin) for bet in BETS]
    return mixture(
        [
            pairs.plus * log(1 - stake * (1 - margin))
            + pairs.minus * log(1 + stake * (1 + margin))
            + pairs.rest * log(1 + stake * margin)
            for stake in stakes
        ]
    )
