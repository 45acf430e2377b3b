"""ResNet backbones (He et al. 2015) under Matterport's layer names.

`resnet50`, `resnet101` and `resnet152` are bottleneck networks with biases and the stride in the
first 1x1 convolution, as in the ImageNet weights of the Keras applications of that time.
`resnet10`, `resnet18` and `resnet34` are built of basic blocks; they are small enough for demos,
tests and easy data. `resnext50` and `resnext101` are in `mrcnn.layers.resnext`.

Every network returns C1 … C5, the outputs of its stages, with strides 2, 4, 8, 16, 32.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from keras import layers

from mrcnn.layers.batch_norm import NormSettings
from mrcnn.layers.folded_norm import FoldingConv2D
from mrcnn.layers.resnext import RESNEXTS, resnext_graph
from mrcnn.ops.tensor import Tensor
from mrcnn.setting_rules.names import block_letter

# Blocks of the stages 2 to 5.
BOTTLENECK_BLOCKS = {
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
}
BASIC_BLOCKS = {"resnet10": (1, 1, 1, 1), "resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
STAGE_FILTERS = (64, 128, 256, 512)
BOTTLENECK_EXPANSION = 4


@dataclasses.dataclass(frozen=True)
class ResNetStyle:
    """In what ResNets of one size differ; see `mrcnn.setting_rules.architecture`.

    The defaults are Matterport's.

    Args:
        stride_in_3x3: of a bottleneck, not in its first 1x1 convolution.
        symmetric_padding: of strided 3x3 convolutions and the max-pooling.
        norm: of every convolution; its `train_bn` gives way to the function's.
    """

    stride_in_3x3: bool = False
    symmetric_padding: bool = False
    norm: NormSettings = NormSettings()


MATTERPORT_STYLE = ResNetStyle()


def resnet_graph(
    input_image: Tensor,
    architecture: str,
    stage5: bool = False,
    train_bn: bool | None = True,
    style: ResNetStyle = MATTERPORT_STYLE,
) -> list[Tensor | None]:
    """Build a backbone.

    Args:
        input_image: [B, H, W, channels], mean subtracted.
        architecture: a name of `BOTTLENECK_BLOCKS`, `BASIC_BLOCKS` or `RESNEXTS`.
        stage5: build the last stage too.
        train_bn: see `mrcnn.layers.batch_norm`.
        style: of a ResNet; a ResNeXt has its own.

    Returns:
        [C1, C2, C3, C4, C5]; C5 is None without stage 5.
    """
    if architecture in RESNEXTS:
        return resnext_graph(input_image, architecture, stage5, train_bn)
    style = dataclasses.replace(style, norm=dataclasses.replace(style.norm, train_bn=train_bn))
    bias = style.norm.conv_bias
    x = layers.ZeroPadding2D((3, 3))(input_image)
    x = FoldingConv2D(64, (7, 7), strides=(2, 2), use_bias=bias, name="conv1")(x)
    x = style.norm(x, "bn_conv1")
    x = layers.Activation("relu")(x)
    if style.symmetric_padding:  # zeros are as good as nothing beside what a ReLU returns
        x = layers.ZeroPadding2D((1, 1))(x)
        c1 = x = layers.MaxPooling2D((3, 3), strides=(2, 2))(x)
    else:
        c1 = x = layers.MaxPooling2D((3, 3), strides=(2, 2), padding="same")(x)

    bottleneck = architecture in BOTTLENECK_BLOCKS
    blocks = BOTTLENECK_BLOCKS.get(architecture) or BASIC_BLOCKS.get(architecture)
    if blocks is None:
        valid = [*BOTTLENECK_BLOCKS, *BASIC_BLOCKS, *RESNEXTS]
        raise ValueError(f"architecture: expected one of {valid}; received {architecture!r}.")
    outputs: list[Tensor | None] = [c1]
    for stage, (count, filters) in enumerate(zip(blocks, STAGE_FILTERS, strict=True), start=2):
        if stage == 5 and not stage5:
            outputs.append(None)
            break
        stride = 1 if stage == 2 else 2
        for number in range(count):
            name = block_letter(number)
            strides = (stride, stride) if number == 0 else (1, 1)
            if not bottleneck:
                x = basic_block(x, filters, stage, name, strides, train_bn, style)
                continue
            widths = (filters, filters, BOTTLENECK_EXPANSION * filters)
            x = _bottleneck(
                x, 3, widths, f"{stage}{name}", strides if number == 0 else None, bias, style
            )
        outputs.append(x)
    return outputs


def identity_block(
    input_tensor: Tensor,
    kernel_size: int,
    filters: Sequence[int],
    stage: int,
    block: str,
    use_bias: bool = True,
    train_bn: bool | None = True,
) -> Tensor:
    """Bottleneck block whose shortcut is the identity.

    Args:
        input_tensor: [B, H, W, filters[2]].
        kernel_size: of the middle convolution.
        filters: of the three convolutions.
        stage, block: number and letter that name the layers.
        use_bias, train_bn: of every convolution and normalization.
    """
    name = f"{stage}{block}"
    style = ResNetStyle(norm=NormSettings(train_bn))
    return _bottleneck(input_tensor, kernel_size, filters, name, None, use_bias, style)


def conv_block(
    input_tensor: Tensor,
    kernel_size: int,
    filters: Sequence[int],
    stage: int,
    block: str,
    strides: tuple[int, int] = (2, 2),
    use_bias: bool = True,
    train_bn: bool | None = True,
) -> Tensor:
    """Bottleneck block whose shortcut is a 1x1 convolution; the first of a stage.

    Arguments as `identity_block`; `strides` is that of the first convolution and the
    shortcut.
    """
    name = f"{stage}{block}"
    style = ResNetStyle(norm=NormSettings(train_bn))
    return _bottleneck(input_tensor, kernel_size, filters, name, strides, use_bias, style)


def _bottleneck(
    inputs: Tensor,
    kernel_size: int,
    filters: Sequence[int],
    name: str,
    strides: tuple[int, int] | None,
    use_bias: bool,
    style: ResNetStyle,
) -> Tensor:
    """A block with the strides of a projected shortcut; None: the shortcut is the identity."""
    conv, norm = f"res{name}_branch", f"bn{name}_branch"
    outer, inner = (1, strides or 1) if style.stride_in_3x3 else (strides or 1, 1)
    x = FoldingConv2D(filters[0], 1, outer, use_bias=use_bias, name=conv + "2a")(inputs)
    x = style.norm(x, norm + "2a")
    x = layers.Activation("relu")(x)
    x = _spatial(x, filters[1], kernel_size, inner, use_bias, conv + "2b", style)
    x = style.norm(x, norm + "2b")
    x = layers.Activation("relu")(x)
    x = FoldingConv2D(filters[2], 1, use_bias=use_bias, name=conv + "2c")(x)
    x = style.norm(x, norm + "2c")
    shortcut = inputs
    if strides is not None:
        shortcut = FoldingConv2D(filters[2], 1, strides, use_bias=use_bias, name=conv + "1")(inputs)
        shortcut = style.norm(shortcut, norm + "1")
    x = layers.Add()([x, shortcut])
    return layers.Activation("relu", name=f"res{name}_out")(x)


def _spatial(
    x: Tensor,
    filters: int,
    kernel_size: int,
    strides: int | tuple[int, int],
    use_bias: bool,
    name: str,
    style: ResNetStyle,
) -> Tensor:
    """A convolution of cells with their neighbors."""
    padding = "same"
    if style.symmetric_padding and strides not in (1, (1, 1)):
        x = layers.ZeroPadding2D(kernel_size // 2)(x)
        padding = "valid"
    layer = FoldingConv2D(
        filters, kernel_size, strides, padding=padding, use_bias=use_bias, name=name
    )
    return layer(x)


def basic_block(
    inputs: Tensor,
    filters: int,
    stage: int,
    block: str,
    strides: tuple[int, int],
    train_bn: bool | None,
    style: ResNetStyle = MATTERPORT_STYLE,
) -> Tensor:
    """Two 3x3 convolutions; the shortcut is projected where the shape changes."""
    conv, norm = f"res{stage}{block}_branch", f"bn{stage}{block}_branch"
    normalize = dataclasses.replace(style.norm, train_bn=train_bn)
    bias = normalize.conv_bias
    x = _spatial(inputs, filters, 3, strides, bias, conv + "2a", style)
    x = normalize(x, norm + "2a")
    x = layers.Activation("relu")(x)
    x = _spatial(x, filters, 3, 1, bias, conv + "2b", style)
    x = normalize(x, norm + "2b")
    shortcut = inputs
    if strides != (1, 1) or inputs.shape[-1] != filters:
        shortcut = FoldingConv2D(filters, 1, strides, use_bias=bias, name=conv + "1")(inputs)
        shortcut = normalize(shortcut, norm + "1")
    x = layers.Add()([x, shortcut])
    return layers.Activation("relu", name=f"res{stage}{block}_out")(x)
