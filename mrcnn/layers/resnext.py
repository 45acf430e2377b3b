"""ResNeXt backbones (Xie et al. 2017, arXiv 1611.05431): residual blocks of many small branches.

The branches of a block are one grouped 3x3 convolution: `resnext50` is ResNeXt-50 32x4d, with 32
groups of 4 channels in the first stage, and `resnext101` is ResNeXt-101 32x8d. All else is as in
torchvision's networks of these names, so that weights trained there fit: no biases, the stride in
the 3x3 convolution, a row and a column of padding on each side, the epsilon of the normalization.

Layers have the names of `mrcnn.layers.resnet`, so that the layer groups ("3+", "4+", ...) hold, but
for `res2a_branch2b_grouped`, … : no ResNet's weights fit these.
"""

from __future__ import annotations

from typing import NamedTuple

from keras import layers

from mrcnn.layers.batch_norm import BatchNorm
from mrcnn.layers.folded_norm import FoldingConv2D
from mrcnn.layers.grouped_conv import GroupedConv2D
from mrcnn.ops.tensor import Tensor
from mrcnn.setting_rules.names import block_letter


class Cardinality(NamedTuple):
    """What a ResNeXt's blocks are made of.

    Attributes:
        blocks: of the stages 2 to 5.
        groups: of the 3x3 convolutions.
        group_width: channels of a group in stage 2; twice as many in each further stage.
    """

    blocks: tuple[int, int, int, int]
    groups: int
    group_width: int


RESNEXTS = {
    "resnext50": Cardinality((3, 4, 6, 3), groups=32, group_width=4),
    "resnext101": Cardinality((3, 4, 23, 3), groups=32, group_width=8),
}
STAGE_CHANNELS = (256, 512, 1024, 2048)
# torchvision's: its weights were normalized with this epsilon, and with statistics of this pace.
EPSILON = 1e-5
MOMENTUM = 0.9


def resnext_graph(
    input_image: Tensor, architecture: str, stage5: bool = False, train_bn: bool | None = True
) -> list[Tensor | None]:
    """Build a backbone; arguments and result as `mrcnn.layers.resnet.resnet_graph`.

    Args:
        input_image: [B, H, W, channels], mean subtracted.
        architecture: a name of `RESNEXTS`.
        stage5: build the last stage too.
        train_bn: see `mrcnn.layers.batch_norm`.
    """
    blocks, groups, group_width = RESNEXTS[architecture]
    x = layers.ZeroPadding2D((3, 3))(input_image)
    x = _convolution(64, 7, 2, "conv1")(x)
    x = _norm("bn_conv1", x, train_bn)
    x = layers.Activation("relu")(x)
    # Zeros are as good as nothing beside what a ReLU returns.
    x = layers.ZeroPadding2D((1, 1))(x)
    c1 = x = layers.MaxPooling2D((3, 3), strides=(2, 2))(x)

    outputs: list[Tensor | None] = [c1]
    for stage, (count, channels) in enumerate(zip(blocks, STAGE_CHANNELS, strict=True), start=2):
        if stage == 5 and not stage5:
            outputs.append(None)
            break
        width = groups * group_width * 2 ** (stage - 2)
        for number in range(count):
            stride = 2 if stage > 2 and number == 0 else 1
            block = Block(width, channels, groups, stride, projected=number == 0)
            x = resnext_block(x, block, f"{stage}{block_letter(number)}", train_bn)
        outputs.append(x)
    return outputs


class Block(NamedTuple):
    """Sizes of a block: the channels inside and outside of it, and its stride."""

    width: int
    channels: int
    groups: int
    stride: int = 1
    projected: bool = False  # the shortcut is a 1x1 convolution, not the identity


def resnext_block(inputs: Tensor, block: Block, name: str, train_bn: bool | None) -> Tensor:
    """1x1, grouped 3x3, 1x1, beside a shortcut (Xie et al., figure 3c).

    Args:
        inputs: [B, H, W, ·]; `block.channels` of them where the shortcut is the identity.
        block: its sizes.
        name: number and letter that name the layers, such as "3b".
        train_bn: see `mrcnn.layers.batch_norm`.

    Returns:
        [B, H / stride, W / stride, channels].
    """
    conv, norm = f"res{name}_branch", f"bn{name}_branch"
    x = _convolution(block.width, 1, 1, conv + "2a")(inputs)
    x = _norm(norm + "2a", x, train_bn)
    x = layers.Activation("relu")(x)
    if block.stride > 1:  # "same" would pad below and to the right only
        x = layers.ZeroPadding2D((1, 1))(x)
    x = GroupedConv2D(
        block.width,
        3,
        block.stride,
        padding="valid" if block.stride > 1 else "same",
        groups=block.groups,
        use_bias=False,
        kernel_initializer="he_normal",
        name=conv + "2b_grouped",
    )(x)
    x = _norm(norm + "2b", x, train_bn)
    x = layers.Activation("relu")(x)
    x = _convolution(block.channels, 1, 1, conv + "2c")(x)
    x = _norm(norm + "2c", x, train_bn)
    shortcut = inputs
    if block.projected:
        shortcut = _convolution(block.channels, 1, block.stride, conv + "1")(inputs)
        shortcut = _norm(norm + "1", shortcut, train_bn)
    x = layers.Add()([x, shortcut])
    return layers.Activation("relu", name=f"res{name}_out")(x)


def _convolution(filters: int, size: int, stride: int, name: str) -> FoldingConv2D:
    """A convolution without bias, from He et al.'s random start, as the paper's."""
    return FoldingConv2D(
        filters, size, stride, use_bias=False, kernel_initializer="he_normal", name=name
    )


def _norm(name: str, x: Tensor, train_bn: bool | None) -> Tensor:
    return BatchNorm(epsilon=EPSILON, momentum=MOMENTUM, name=name)(x, training=train_bn)
