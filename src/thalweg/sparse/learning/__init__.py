"""Which dictionary makes the codes of these signals cheapest?"""

from __future__ import annotations

from thalweg.sparse.learning.learn import learn_dictionary
from thalweg.sparse.learning.online import OnlineLearner

__all__ = ["OnlineLearner", "learn_dictionary"]
