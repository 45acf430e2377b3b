"""ResNeXt: a block beside NumPy's loops, published numbers of parameters, torchvision's shapes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from mrcnn.layers.batch_norm import BatchNorm
from mrcnn.layers.resnet import resnet_graph
from mrcnn.layers.resnext import EPSILON, RESNEXTS, Block, resnext_block, resnext_graph
from mrcnn.training.stages import matching_layers
from mrcnn.weights.mismatch import backbone_of
from tests.support import compiled

# --- A block ----------------------------------------------------------------------------------


def naive_conv(x: np.ndarray, kernel: np.ndarray, stride: int, groups: int = 1) -> np.ndarray:
    """torch.nn.Conv2d(padding=side // 2) of one image [H, W, C], in NumPy's float64."""
    side, _, inside, filters = kernel.shape
    pad = side // 2
    x = np.pad(np.asarray(x, np.float64), ((pad, pad), (pad, pad), (0, 0)))
    height, width = ((length - side) // stride + 1 for length in x.shape[:2])
    result = np.zeros((height, width, filters))
    for group in range(groups):
        outputs = slice(group * filters // groups, (group + 1) * filters // groups)
        inputs = slice(group * inside, (group + 1) * inside)
        for i, j in np.ndindex(height, width):
            patch = x[i * stride : i * stride + side, j * stride : j * stride + side, inputs]
            result[i, j, outputs] = np.tensordot(patch, kernel[..., outputs], 3)
    return result


def naive_norm(x: np.ndarray, layer: keras.layers.Layer) -> np.ndarray:
    gamma, beta, mean, variance = layer.get_weights()
    return (x - mean) / np.sqrt(variance + EPSILON) * gamma + beta


def naive_block(x: np.ndarray, model: keras.Model, block: Block, name: str) -> np.ndarray:
    """The block of one image: Xie et al., figure 3c."""

    def step(values: np.ndarray, conv: str, norm: str, stride: int, groups: int = 1):
        (kernel,) = model.get_layer(f"res{name}_branch{conv}").get_weights()
        return naive_norm(
            naive_conv(values, kernel, stride, groups), model.get_layer(f"bn{name}_branch{norm}")
        )

    y = np.maximum(step(x, "2a", "2a", 1), 0)
    y = np.maximum(step(y, "2b_grouped", "2b", block.stride, block.groups), 0)
    y = step(y, "2c", "2c", 1)
    return np.maximum(y + (step(x, "1", "1", block.stride) if block.projected else x), 0)


def random_model(inputs: Any, outputs: Any) -> keras.Model:
    """With random weights and statistics."""
    model, rng = keras.Model(inputs, outputs), np.random.default_rng(0)
    for layer in model.layers:
        low = 0.5 if isinstance(layer, BatchNorm) else -0.5
        layer.set_weights([rng.uniform(low, 1, w.shape) for w in layer.get_weights()])
    return model


@pytest.mark.parametrize(
    "block",
    [
        Block(8, 12, groups=4),
        Block(8, 10, groups=4, stride=2, projected=True),
        Block(6, 12, groups=2, stride=1, projected=True),
    ],
)
def test_a_block_like_the_loops(block: Block):
    image = keras.Input((8, 6, 12))
    model = random_model(image, resnext_block(image, block, "3b", train_bn=False))
    x = np.random.default_rng(1).normal(size=(2, 8, 6, 12)).astype(np.float32)
    expected = np.stack([naive_block(one, model, block, "3b") for one in x])
    for name, run in compiled(lambda images: model(images, training=False)):
        np.testing.assert_allclose(run(x), expected, rtol=2e-4, atol=2e-4, err_msg=name)


def test_a_block_learns_with_statistics_of_its_own():
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 12))
    block = Block(8, 12, groups=4, stride=2, projected=True)
    x = keras.layers.Flatten()(resnext_block(image, block, "2a", train_bn=None))
    model = keras.Model(image, keras.layers.Dense(1, name="score")(x))
    model.compile(keras.optimizers.SGD(0.05), "mse")
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(16, 8, 8, 12)).astype(np.float32), rng.normal(size=(16, 1))
    before = {layer.name: layer.get_weights() for layer in model.layers}
    losses = model.fit(x, y, batch_size=8, epochs=12, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]
    for layer in model.layers:
        for old, new in zip(before[layer.name], layer.get_weights(), strict=True):
            assert np.abs(new - old).max() > 0, layer.name


# --- The networks -----------------------------------------------------------------------------


@pytest.fixture(scope="module", params=RESNEXTS)
def backbone(request: pytest.FixtureRequest) -> tuple[str, keras.Model]:
    image = keras.Input((64, 96, 3))
    return request.param, keras.Model(image, resnext_graph(image, request.param, stage5=True))


def torchvision_shapes(blocks: tuple[int, ...], base: int) -> dict[str, tuple[int, ...]]:
    """Kernels [out, in / groups, height, width] of its state dict, by our layer names."""
    shapes: dict[str, tuple[int, ...]] = {"conv1": (64, 3, 7, 7)}
    inside = 64
    for stage, count in enumerate(blocks):
        width, channels = 64 * 2**stage * base * 32 // 64, 256 * 2**stage
        for number in range(count):
            name = f"res{stage + 2}{chr(ord('a') + number)}_branch"
            if number == 0:  # downsample
                shapes[name + "1"] = (channels, inside, 1, 1)
            shapes[name + "2a"] = (width, inside, 1, 1)
            shapes[name + "2b_grouped"] = (width, width // 32, 3, 3)
            shapes[name + "2c"] = (channels, width, 1, 1)
            inside = channels
    return shapes


# Of the classifiers: docs.pytorch.org, torchvision.models, "num_params".
PUBLISHED = {"resnext50": 25_028_904, "resnext101": 88_791_336}
BLOCKS = {"resnext50": ((3, 4, 6, 3), 4), "resnext101": ((3, 4, 23, 3), 8)}


def test_as_many_parameters_as_published(backbone):
    name, model = backbone
    classifier = 2048 * 1000 + 1000
    learned = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert learned + classifier == PUBLISHED[name]


def test_kernels_have_torchvisions_shapes(backbone):
    name, model = backbone
    found = {
        layer.name: tuple(layer.kernel.shape[axis] for axis in (3, 2, 0, 1))
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D)
    }
    assert found == torchvision_shapes(*BLOCKS[name])
    assert not any(layer.use_bias for layer in model.layers if hasattr(layer, "use_bias"))
    norms = [layer for layer in model.layers if isinstance(layer, BatchNorm)]
    assert len(norms) == len(found)
    assert {(norm.epsilon, norm.momentum) for norm in norms} == {(1e-5, 0.9)}


def test_stages_halve_the_image(backbone):
    _, model = backbone
    shapes = [tuple(output.shape[1:]) for output in model.outputs]
    assert shapes == [
        *((16, 24, 64), (16, 24, 256), (8, 12, 512), (4, 6, 1024), (2, 3, 2048)),
    ]


def test_layer_groups_reach_the_stages(backbone):
    name, model = backbone
    assert backbone_of(layer.name for layer in model.layers) == name
    for group, first in (("3+", 3), ("4+", 4), ("5+", 5)):
        found = {layer.name for layer in matching_layers(model, group)}
        expected = {
            layer.name
            for layer in model.layers
            if layer.weights and layer.name.startswith(("res", "bn")) and "conv1" not in layer.name
            if int(layer.name.lstrip("resbn")[0]) >= first
        }
        assert found == expected and expected


def test_matterports_function_knows_them():
    image = keras.Input((64, 64, 3))
    c1, *_, c5 = resnet_graph(image, "resnext50", stage5=False)
    assert c5 is None and tuple(c1.shape[1:]) == (16, 16, 64)


def test_the_stem_pads_as_torchvisions():
    """One row and one column on each side of the pooling, three of the first convolution."""
    image = keras.Input((16, 16, 3))
    c1 = resnext_graph(image, "resnext50", train_bn=False)[0]
    model = random_model(image, c1)
    x = np.random.default_rng(3).normal(size=(1, 16, 16, 3)).astype(np.float32)
    y = naive_conv(x[0], model.get_layer("conv1").get_weights()[0], 2)
    y = np.maximum(naive_norm(y, model.get_layer("bn_conv1")), 0)
    y = np.pad(y, ((1, 1), (1, 1), (0, 0)))
    expected = [
        [y[2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max(axis=(0, 1)) for j in range(4)]
        for i in range(4)
    ]
    got = ops.convert_to_numpy(model(x, training=False))[0]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
