"""Intervals that count the images in: how much of a difference is owed to those evaluated.

The seeds of a comparison tell how much a run varies; that the validation images are a sample too,
they do not tell. Here both are drawn: in each resample the seeds with replacement, and the images
with replacement, the same for all runs, because all runs were evaluated on the same images. AP is
computed anew on the images drawn, from what was matched in each (`mrcnn.evaluation.matches`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from mrcnn.ablation.statistics import CONFIDENCE
from mrcnn.evaluation.coco import UNDEFINED
from mrcnn.evaluation.matches import Matches

SEED = 20_180_907
RunMatches = Mapping[str, Mapping[int, Matches]]  # by arm and seed


class Interval(NamedTuple):
    """Percentiles of a resampled difference; NaN where there are none."""

    low: float
    high: float


NO_INTERVAL = Interval(np.nan, np.nan)


class ImageResamples:
    """AP of all runs on the same random samples of the images.

    Args:
        matches: of one kind of overlap, of finished runs.
        resamples: how many samples.
        seed: of the samples.

    Raises:
        ValueError: the runs were evaluated on different images.

    Attributes:
        values: by arm and seed, float64 [resamples]; NaN where a sample holds no object.
    """

    def __init__(self, matches: RunMatches, resamples: int, seed: int = SEED) -> None:
        runs = [(arm, key) for arm in matches for key in matches[arm]]
        self.resamples = resamples
        self.seed = seed
        self.values: dict[str, dict[int, np.ndarray]] = {arm: {} for arm in matches}
        if not runs:
            return
        objects = matches[runs[0][0]][runs[0][1]].objects
        for arm, key in runs:
            if not np.array_equal(matches[arm][key].objects, objects):
                raise ValueError(
                    f"{arm}, seed {key}: expected matches of the same images and objects as in the "
                    f"other runs; received others. Was the ground truth changed in between? "
                    "Choose another output folder."
                )
        images = len(objects)
        random = np.random.default_rng([seed, 0])
        weights = random.multinomial(images, np.full(images, 1 / images), resamples)
        for arm, key in tqdm(runs, desc="Resample", unit="run", disable=None):
            found = np.array([matches[arm][key].average_precision(w) for w in weights])
            self.values[arm][key] = np.where(found == UNDEFINED, np.nan, found)

    def interval(self, arm: str, against: str, confidence: float = CONFIDENCE) -> Interval:
        """Of the mean difference of two arms, with seeds and images resampled.

        The spread that the seeds give is stretched by sqrt(n / (n - 1)): a resample of n values
        varies less than the values do. With few seeds the percentiles are still too narrow, where
        Student's interval is not; both belong into a report.

        Args:
            arm, against: names.
            confidence: what the interval covers, in expectation.
        """
        mine, other = self.values.get(arm, {}), self.values.get(against, {})
        seeds = [key for key in mine if key in other]
        if len(seeds) < 2:
            return NO_INTERVAL
        differences = np.stack([mine[key] - other[key] for key in seeds])  # [seeds, resamples]
        random = np.random.default_rng([self.seed, 1])
        drawn = random.integers(len(seeds), size=(len(seeds), self.resamples))
        mean = differences.mean(axis=0)
        resampled = np.take_along_axis(differences, drawn, axis=0).mean(axis=0)
        stretched = mean + (resampled - mean) * np.sqrt(len(seeds) / (len(seeds) - 1))
        known = stretched[np.isfinite(stretched)]
        if not len(known):
            return NO_INTERVAL
        rest = (1 - confidence) / 2
        return Interval(*np.quantile(known, [rest, 1 - rest]).tolist())
