"""Subclasses of MaskRCNN as scripts write them: own constructors, `train`, `compile`, `build`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from mrcnn.model import DataGenerator, MaskRCNN, data_generator, log
from mrcnn.training import session
from mrcnn.weights.layers import weighted_layers
from tests.data.test_image_values import Images, numbers
from tests.matterport.test_generator import Squares
from tests.tiny import tiny_config


class OwnConstructor(MaskRCNN):
    """Sets what Matterport's constructor sets, and nothing else."""

    def __init__(self, mode: str, config: Any, model_dir: Any) -> None:
        assert mode in ["training", "inference"]
        self.mode = mode
        self.config = config
        self.model_dir = model_dir
        self.set_log_dir()
        self.keras_model = self.build(mode=mode, config=config)


class OwnTrain(OwnConstructor):
    """Trains as copies of Matterport's `train` do."""

    def train(self, train_dataset, val_dataset, learning_rate, epochs, layers, **options):  # type: ignore[override]
        assert self.mode == "training"
        groups = {"heads": r"(mrcnn\_.*)|(rpn\_.*)|(fpn\_.*)", "all": ".*"}
        train_generator = DataGenerator(train_dataset, self.config, shuffle=True)
        val_generator = val_dataset and data_generator(
            val_dataset, self.config, shuffle=True, batch_size=self.config.BATCH_SIZE
        )
        if not os.path.exists(self.log_dir):
            os.makedirs(self.log_dir)
        callbacks = [
            keras.callbacks.ModelCheckpoint(
                self.checkpoint_path, verbose=0, save_weights_only=True
            ),
            *options.get("custom_callbacks", []),
        ]
        log(f"\nStarting at epoch {self.epoch}. LR={learning_rate}\n")
        self.set_trainable(groups.get(layers, layers))
        self.compile(learning_rate, self.config.LEARNING_MOMENTUM)
        self.keras_model.fit_generator(
            train_generator,
            initial_epoch=self.epoch,
            epochs=epochs,
            steps_per_epoch=self.config.STEPS_PER_EPOCH,
            callbacks=callbacks,
            validation_data=val_generator,
            validation_steps=self.config.VALIDATION_STEPS,
            max_queue_size=100,
            workers=4,
            use_multiprocessing=True,
        )
        self.epoch = max(self.epoch, epochs)


def weights_of(model: MaskRCNN) -> dict[str, list[np.ndarray]]:
    return {layer.name: layer.get_weights() for layer, _ in weighted_layers(model.keras_model)}


def assert_same(first: dict[str, list], second: dict[str, list]) -> None:
    assert first.keys() == second.keys()
    for name, values in first.items():
        for one, other in zip(values, second[name], strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)


class TestOwnConstructor:
    def test_it_begins_as_ours(self, tmp_path: Path):
        config = tiny_config(SEED=3)
        own = OwnConstructor("training", config, str(tmp_path))
        assert own.epoch == 0 and Path(own.log_dir).parent == tmp_path
        assert_same(weights_of(own), weights_of(MaskRCNN("training", config, tmp_path)))

    def test_it_detects_also_with_another_keras_model(self, tmp_path: Path):
        model = OwnConstructor("inference", tiny_config(SEED=1), str(tmp_path))
        result = model.detect([np.zeros((50, 70, 3), np.uint8)])[0]
        assert result["masks"].shape[:2] == (50, 70)
        assert model.anchors.shape[1] == 4
        assert model.get_anchors((64, 64)).dtype == np.float32
        first, graph = model.detector, model.keras_model
        model.keras_model = model.build("inference", tiny_config(SEED=2))
        assert model.detector is not first and model.detector.model is model.keras_model
        assert model.detector is model.detector
        model.keras_model = graph
        assert model.detector.model is graph


class TestOwnTrain:
    def test_it_ends_with_the_weights_of_ours(self, tmp_path: Path):
        config = tiny_config(SEED=4, STEPS_PER_EPOCH=2)
        ours = MaskRCNN("training", config, tmp_path / "ours")
        ours.train(Squares(), None, 0.01, 2, "all")
        own = OwnTrain("training", config, str(tmp_path / "own"))
        own.train(Squares(), None, 0.01, 2, "all")
        assert own.epoch == 2
        assert_same(weights_of(own), weights_of(ours))
        written = sorted(Path(own.log_dir).glob("*_0*.h5"))
        assert [path.name[-7:] for path in written] == ["0001.h5", "0002.h5"]
        assert own.find_last() == str(written[1])
        ours.load_weights(written[0], by_name=True)
        ours.load_weights(written[1], by_name=True)
        assert_same(weights_of(own), weights_of(ours))


class TestOwnCompileAndBuild:
    def test_compile_with_two_arguments(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        calls = []
        history = keras.callbacks.History()
        history.epoch = [0, 1]
        monkeypatch.setattr(session.trainer, "fit", lambda *args, **options: history)

        class OwnCompile(MaskRCNN):
            def compile(self, learning_rate, momentum):  # type: ignore[override]
                calls.append((learning_rate, momentum))
                super().compile(learning_rate, momentum)

        config = tiny_config(STEPS_PER_EPOCH=1, LEARNING_RATE_SCHEDULE="cosine")
        model = OwnCompile("training", config, tmp_path)
        model.train(Squares(), None, 0.02, 2, "heads")
        assert calls == [(0.02, 0.9)]
        schedule = model.keras_model.optimizer._learning_rate
        assert schedule.decay_steps == 2
        with pytest.raises(ValueError, match="received None"):  # outside of a stage
            model.compile(0.02, 0.9)

    def test_compile_with_an_optimizer_of_its_own(self, tmp_path: Path):
        class Adam(OwnConstructor):
            def compile(self, learning_rate, momentum):  # type: ignore[override]
                self.keras_model.compile(optimizer=keras.optimizers.Adam(learning_rate))

        model = Adam("training", tiny_config(STEPS_PER_EPOCH=1), str(tmp_path))
        before = weights_of(model)
        model.train(Squares(), None, 1e-3, 2, "all")
        assert model.epoch == 2 and Path(model.find_last()).parent == Path(model.log_dir)
        assert isinstance(model.keras_model.optimizer, keras.optimizers.Adam)
        assert int(model.keras_model.optimizer.iterations) == 2
        assert not np.array_equal(weights_of(model)["conv1"][0], before["conv1"][0])
        # The package's own comes back, although the same layers learn.
        MaskRCNN.compile(model, 0.01, 0.9)
        assert not isinstance(model.keras_model.optimizer, keras.optimizers.Adam)

    def test_build_that_changes_ours(self, tmp_path: Path):
        class OwnBuild(MaskRCNN):
            def build(self, mode, config):  # type: ignore[override]
                model = super().build(mode, config)
                kernel = model.get_layer("conv1").kernel
                kernel.assign_add(np.ones(kernel.shape))
                return model

        own = OwnBuild("inference", tiny_config(SEED=5), tmp_path)
        ours = MaskRCNN("inference", tiny_config(SEED=5), tmp_path)
        change = weights_of(own)["conv1"][0] - weights_of(ours)["conv1"][0]
        np.testing.assert_allclose(change, 1, atol=1e-6)
        assert len(own.detect([np.zeros((64, 64, 3), np.uint8)])) == 1


NAMES = ("best.weights.h5", "best.h5", "whole.h5", "whole.keras")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> MaskRCNN:
    folder = tmp_path_factory.mktemp("logs")
    model = MaskRCNN("training", tiny_config(SEED=6, STEPS_PER_EPOCH=1), folder)
    callbacks = [
        keras.callbacks.ModelCheckpoint(folder / name, "loss", 0, True, "best" in name)
        for name in NAMES
    ]
    model.train(Squares(), None, 0.01, 1, "all", custom_callbacks=callbacks)
    return model


@pytest.fixture(scope="module")
def detector(trained: MaskRCNN) -> MaskRCNN:
    return MaskRCNN("inference", tiny_config(SEED=7), trained.model_dir)


class TestWeightsOfOtherNames:
    """What Keras's callbacks leave behind of a training, for detection."""

    @pytest.mark.parametrize("name", NAMES)
    def test_detection_loads_them(self, trained: MaskRCNN, detector: MaskRCNN, name: str):
        path = Path(trained.model_dir, name)
        expected = weights_of(trained)
        zeros = [np.zeros_like(values) for values in detector.keras_model.get_weights()]
        for load in (
            lambda: detector.load_weights(path, by_name=True),
            lambda: detector.load_weights(path),
            lambda: detector.keras_model.load_weights(path),
            lambda: detector.keras_model.load_weights(path, by_name=True),
        ):
            detector.keras_model.set_weights(zeros)
            load()
            found = weights_of(detector)
            assert_same(found, {name: expected[name] for name in found})
        detector.keras_model.set_weights(zeros)
        report = detector.load_weights(path, by_name=True, exclude=["mrcnn_mask", "rpn_model"])
        assert len(report.excluded) == 4 and not report.missing
        assert not weights_of(detector)["mrcnn_mask"][0].any()
        assert not weights_of(detector)["rpn_class_raw"][0].any()
        assert weights_of(detector)["mrcnn_mask_conv4"][0].any()

    def test_training_loads_what_detection_saved(
        self, trained: MaskRCNN, detector: MaskRCNN, tmp_path: Path
    ):
        detector.keras_model.load_weights(Path(trained.model_dir, NAMES[0]))
        detector.keras_model.save_weights(tmp_path / "found.weights.h5")
        other = MaskRCNN("training", tiny_config(SEED=10), tmp_path)
        other.load_weights(tmp_path / "found.weights.h5", by_name=True)
        found = weights_of(detector)
        assert_same({name: weights_of(other)[name] for name in found}, found)

    def test_a_compiled_network_gets_its_optimizer_back(self, trained: MaskRCNN):
        model = MaskRCNN("training", tiny_config(SEED=11), trained.model_dir)
        model.set_trainable("all", verbose=0)
        model.compile(0.01, 0.9)
        model.keras_model.load_weights(Path(trained.model_dir, "best.weights.h5"))
        assert int(model.keras_model.optimizer.iterations) == 1
        assert_same(weights_of(model), weights_of(trained))

    def test_keras_makes_the_models_again(self, trained, detector, tmp_path: Path):
        detector.keras_model.save(tmp_path / "found.h5")
        for path, model in (
            (Path(trained.model_dir, "whole.keras"), trained),
            (tmp_path / "found.h5", detector),
        ):
            found = keras.models.load_model(path, compile=False)
            assert type(found) is type(model.keras_model)
            expected = weights_of(model)
            assert_same({x.name: x.get_weights() for x, _ in weighted_layers(found)}, expected)


class TestImagesOfAnyValues:
    """Trained and detected as they are: what the network sees of an image is the same."""

    def test_training_and_detection(self, tmp_path: Path):
        image = numbers(-1000, 3000, "int16")
        mean = np.array([100.0, 90.0, 80.0])
        config = tiny_config(MEAN_PIXEL=mean, STEPS_PER_EPOCH=1)
        dataset = Images(image, image)
        model = MaskRCNN("training", config, tmp_path)
        history = model.train(dataset, dataset, 1e-4, 1, "all")
        assert np.isfinite(history.history["loss"]).all()
        batch, _ = next(data_generator(dataset, config, batch_size=2))
        molded, metas, _ = model.mold_inputs([image])
        np.testing.assert_array_equal(batch[0][0], molded[0])
        # The training graph computes on the same values, from the loader and from a molded image.
        layer = model.keras_model.get_layer("molded_image").output
        seen = model.run_graph(molded, [("seen", layer)], image_metas=metas)["seen"]
        np.testing.assert_allclose(seen, molded, rtol=1e-6)
        found = MaskRCNN("inference", config, tmp_path)
        found.load_weights(found.find_last(), by_name=True)
        assert len(found.detect([image, numbers(0, 255, "uint8")])) == 2

    def test_values_that_are_not_finite_are_refused(self, tmp_path: Path, caplog):
        image = numbers(0, 1)
        image[3, 4, 0] = np.nan
        found = MaskRCNN("inference", tiny_config(), tmp_path)
        with pytest.raises(ValueError, match=r"images\[1\].*1 of 12288 values NaN or infinite"):
            found.detect([numbers(0, 255), image])
        # In the same range: said once.
        with caplog.at_level("WARNING", "mrcnn"):
            for _ in range(2):
                found.detect([numbers(0, 255, "uint8"), numbers(0, 1)])
        assert caplog.text.count("images[1] has values from") == 1


class TestFewerScalesThanLevels:
    """As in the configurations of the Airbus and RSNA competitions."""

    def test_training_and_detection(self, tmp_path: Path):
        config = tiny_config(RPN_ANCHOR_SCALES=(8, 16, 32, 64), STEPS_PER_EPOCH=1)
        anchors = sum((64 // stride) ** 2 * 3 for stride in (4, 8, 16, 32))
        model = MaskRCNN("training", config, tmp_path)
        assert model.keras_model.get_layer("rpn_class").output.shape[1] == anchors
        inputs, outputs = next(data_generator(Squares(), config, batch_size=2))
        assert inputs[2].shape == (2, anchors, 1)
        model.compile(0.01, 0.9)
        model.keras_model.run_eagerly = True  # tracing takes long
        losses = model.keras_model.train_on_batch(inputs, outputs, return_dict=True)
        assert np.isfinite(losses["loss"]) and losses["rpn_class_loss"] > 0
        found = MaskRCNN("inference", config, tmp_path)
        assert found.get_anchors((64, 64)).shape == (anchors, 4)
        report = found.load_weights(model.save_weights(tmp_path / "four.h5"))
        assert not report.missing
        found.detect([np.zeros((64, 64, 3), np.uint8)])

    def test_weights_fit_any_number_of_scales(self, tmp_path: Path):
        MaskRCNN("inference", tiny_config(), tmp_path).save_weights(tmp_path / "five.h5")
        one = MaskRCNN("inference", tiny_config(RPN_ANCHOR_SCALES=(24,)), tmp_path)
        report = one.load_weights(tmp_path / "five.h5")
        assert not report.missing and not report.skipped
