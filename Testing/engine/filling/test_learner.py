"""What is learnt from drawn slices holds beside them, too."""

import numpy as np
from sam2adapt.filling.learner import PixelLearner
from sam2adapt.filling.opinions.evidence import OPINIONS


def test_opinions_that_are_surer_than_all_that_was_learnt_from_are_not_misread():
    """The surest opinions on hidden slices were wrong; beside a drawn slice, all of them are surer than that."""
    random = np.random.default_rng(0)
    opinions = random.uniform(-1, 1, (6000, OPINIONS)).astype(np.float32)
    targets = (opinions.mean(1) > 0) & (opinions.max(1) < 0.9)
    grey = random.normal(0, 1, (6000, 2)).astype(np.float32)
    learner = PixelLearner()
    learner.fit(
        np.hstack([opinions, grey]), targets[:, None], np.ones((6000, 1), bool), np.arange(6000) % 3, lambda share: None
    )
    beside = np.zeros((OPINIONS + 2, 1, 2), np.float32)
    beside[:OPINIONS, 0] = [[6, -6]] * OPINIONS
    inside, outside = learner.predict(beside)[0, 0]
    assert inside > 1 and outside < -1
