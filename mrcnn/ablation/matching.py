"""The control arm that trains the mask branch with larger gradients, and without edges.

An edge loss does two things to the mask branch: it says where the mask is wrong, and it makes the
gradient larger. The arms of `mrcnn.ablation.arms.MATCHED` do only the second: their mask loss is
multiplied by the k for which the mean gradient norm of the mask branch is that of another arm. For
the gradients g of the mask loss and h of that arm's losses, both with respect to all weights of the
mask branch::

    k = mean |h| / mean |g|

The means are over batches spread over one training of the other arm from the common start of the
first seed: of its batches and at its weights. A gradient is linear in the factor of its loss, so
that k is exact there. k is measured once for a grid, by a process of its own, and kept in the
grid's folder.

Adam divides each step by the size of the gradients. Where a branch learns from one loss alone, a
factor of it changes nothing there but what clipping does; SGD gives the control its meaning.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from mrcnn.ablation.run import WITH_PARENT, RunSpec, end_with_parent, load_subset, start_model
from mrcnn.files.atomic import write_json
from mrcnn.training.stages import Stage, matching_layers, trained_losses

if TYPE_CHECKING:
    from mrcnn.data.loader import Batch
    from mrcnn.datasets.coco import CocoDataset
    from mrcnn.model import MaskRCNN

MATCH_FILE, GRADIENT_FILE = "match.json", "gradient.json"
MASK_LOSS = "mrcnn_mask_loss"
MASK_BRANCH = "mrcnn_mask"  # what the names of its layers begin with
BATCHES = 50


@dataclass(frozen=True)
class Matched:
    """What was measured: the content of `gradient.json`.

    Attributes:
        factor: k, of the mask loss.
        reference: the arm whose gradients were matched.
        norm: mean gradient norm of the mask branch by the mask loss alone.
        reference_norm: by the losses of the reference.
        lowest, highest: of the quotient of the two norms at single batches.
        batches: measured.
        steps: of the training that they are spread over.
        seed: of it.
    """

    factor: float
    reference: str
    norm: float
    reference_norm: float
    lowest: float
    highest: float
    batches: int
    steps: int
    seed: int

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """What a folder of an arm holds; None: nothing has been measured yet."""
        path = folder / GRADIENT_FILE
        return cls(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None

    def apply(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Settings whose mask loss has the factor on top of the weight that it has there."""
        return with_factor(settings, self.factor)

    def describe(self, arm: str) -> str:
        """A sentence for the report."""
        return (
            f"{arm}: the mask loss times {self.factor:.3f}, so that the mean gradient norm of the "
            f"mask branch, {self.norm:.4g}, is that of {self.reference}, "
            f"{self.reference_norm:.4g}. Measured at {self.batches} batches of a training of "
            f"{self.reference} (seed {self.seed}, {self.steps} steps); at single batches the "
            f"quotient is {self.lowest:.2f} to {self.highest:.2f}."
        )


def with_factor(settings: dict[str, Any], factor: float) -> dict[str, Any]:
    """Settings with a further factor of the mask loss."""
    from mrcnn.config import Config

    weights = {**Config.LOSS_WEIGHTS, **settings.get("LOSS_WEIGHTS", {})}
    return {**settings, "LOSS_WEIGHTS": {**weights, MASK_LOSS: factor * weights[MASK_LOSS]}}


def write_match(folder: Path, spec: RunSpec, reference: str, settings: dict[str, Any]) -> None:
    """Say in a folder what `main` shall measure.

    Args:
        folder: of the arm.
        spec: of a run of the reference.
        reference: its name.
        settings: of the arm, without the factor.
    """
    folder.mkdir(parents=True, exist_ok=True)
    spec.write(folder)
    write_json(folder / MATCH_FILE, {"reference": reference, "settings": settings})


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what a folder asks for. Returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help=f"folder with {MATCH_FILE}")
    parser.add_argument(WITH_PARENT, action="store_true", help="end when standard input ends")
    args = parser.parse_args(argv)
    folder = args.folder
    if args.with_parent:
        threading.Thread(target=end_with_parent, daemon=True).start()
    asked = json.loads((folder / MATCH_FILE).read_text(encoding="utf-8"))
    spec = RunSpec.read(folder)
    found = measure(
        spec, asked["reference"], asked["settings"], load_subset(spec, spec.train_subset)
    )
    write_json(folder / GRADIENT_FILE, asdict(found))
    return 0


def measure(
    spec: RunSpec,
    reference: str,
    settings: dict[str, Any],
    train_set: CocoDataset,
    batches: int = BATCHES,
) -> Matched:
    """Measure the factor of the mask loss.

    Args:
        spec: of a run of the reference, which is trained here as that run is.
        reference: its name.
        settings: of the arm, without the factor.
        train_set: prepared.
        batches: to measure, spread evenly over the steps in which the mask branch learns.

    Raises:
        ValueError: the mask branch does not learn, or its mask loss has no gradient.
    """
    from mrcnn.training import compile as training_compile
    from mrcnn.training.gradients import GradientProbe

    learned = ("UNCERTAINTY_WEIGHTING", "GRADNORM_ALPHA")
    if any(own.get(name) for own in (spec.settings, settings) for name in learned):
        raise ValueError(
            f"{', '.join(learned)}: expected fixed weights of the losses, one of which is measured "
            "here; learned ones change in every step. Leave the settings or the control arm out."
        )
    logs = Path(spec.initial_weights).parent / "logs"
    # Three networks that share their weights: one learns, and two are measured.
    models = [
        start_model(spec, train_set.num_classes, logs, own)
        for own in (spec.settings, spec.settings, settings)
    ]
    learner, *measured = models
    for model in measured:
        model.keras_model.weight_decay = 0.0  # no part of the losses
    learns = {stage: _learns(learner, stage) for stage in set(spec.stages)}
    learning = [step for step, stage in _steps(spec) if learns[stage]]
    if not learning:
        raise ValueError(
            f"layers: expected a training in which the mask branch learns, layers {MASK_BRANCH}…, "
            f"whose gradients the control arm matches; received one of the layers "
            f"{', '.join(dict.fromkeys(stage.layers for stage in spec.stages))}."
        )
    places = np.linspace(0, len(learning) - 1, min(batches, len(learning))).round().astype(int)
    chosen = {learning[place] for place in places}
    norms: list[list[float]] = []
    done, batch_of_step = 0, _batches(learner, spec, train_set)
    for stage in spec.stages:
        for model in models:
            training_compile.set_trainable(model.keras_model, stage.layers)
            training_compile.set_trained_losses(model.keras_model, stage.losses)
        learner.compile(stage.learning_rate, learner.config.LEARNING_MOMENTUM, stage.steps)
        probes = [GradientProbe(model.keras_model, model.config) for model in measured]
        for step in range(done, done + stage.steps):
            batch = next(batch_of_step)
            if step in chosen:
                weights = learner.keras_model.get_weights()
                for model in measured:
                    model.keras_model.set_weights(weights)
                norms.append([_norm_of_mask_branch(probe(batch)[1]) for probe in probes])
            learner.keras_model.train_on_batch(batch)
        done += stage.steps
    return _summary(np.array(norms), reference, done, spec.seed)


def _steps(spec: RunSpec) -> Iterator[tuple[int, Stage]]:
    """Every step of a run, with its stage."""
    stages = (stage for stage in spec.stages for _ in range(stage.steps))
    return enumerate(stages)


def _learns(model: MaskRCNN, stage: Stage) -> bool:
    """Whether the mask branch learns in a stage, from the mask loss."""
    if MASK_LOSS not in trained_losses(stage.losses):
        return False
    names = [layer.name for layer in matching_layers(model.keras_model, stage.layers)]
    return any(name.startswith(MASK_BRANCH) for name in names)


def _summary(norms: np.ndarray, reference: str, steps: int, seed: int) -> Matched:
    """Of the norms [batches, (by the reference's losses, by the mask loss alone)]."""
    reference_norm, norm = norms.mean(axis=0).tolist()
    if not norm > 0 or not np.isfinite(norms).all():
        raise ValueError(
            f"{reference}: expected finite gradients of the mask loss with a mean norm above 0; "
            f"received {norm}. Are there objects with masks in the training images?"
        )
    quotients = norms[:, 0] / np.where(norms[:, 1] > 0, norms[:, 1], np.nan)
    return Matched(
        factor=reference_norm / norm,
        reference=reference,
        norm=norm,
        reference_norm=reference_norm,
        lowest=float(np.nanmin(quotients)),
        highest=float(np.nanmax(quotients)),
        batches=len(norms),
        steps=steps,
        seed=seed,
    )


def _norm_of_mask_branch(norms: dict[str, float]) -> float:
    """The norm over all weights of the mask branch, of the norms of single weights."""
    own = [norm for path, norm in norms.items() if path.startswith(MASK_BRANCH)]
    return float(np.sqrt(np.sum(np.square(own))))


def _batches(model: MaskRCNN, spec: RunSpec, train_set: CocoDataset) -> Iterator[Batch]:
    """The batches that the run of a spec trains on, in their order."""
    from mrcnn.data.augment import by_name
    from mrcnn.data.loader import Loader
    from mrcnn.data.stream import SampleStream

    stream = SampleStream.of(
        train_set, model.config, seed=model.config.SEED, augmentation=by_name(spec.augment)
    )
    with Loader(stream) as loader:
        yield from loader.batches(0, sum(stage.steps for stage in spec.stages))


if __name__ == "__main__":
    sys.exit(main())
