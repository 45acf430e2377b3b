"""The edge agreement loss on a DeepLab: the same training with it and without it, side by side.

    python samples/edge_agreement/deeplab.py --dataset /path/to/nuclei --steps 400 --seeds 0 1 2

What `unet.py` does with a U-Net, this does with a small DeepLabv3+ (Chen et al. 2018): atrous
convolutions in the place of the last strides, a pyramid of atrous rates (ASPP), and a decoder that
adds the features at a quarter of the resolution. Data, losses, metrics and results are those of
`unet.py`; the output folder gets `deeplab.csv` and `deeplab.png`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import unet  # beside this file
from unet import GROUPS

OUTPUT_STRIDE = 8  # pixels of the image to a cell of the encoder's last map
ATROUS_RATE = 2  # of the blocks that would have the next stride
ASPP_RATES = (2, 4, 6)  # of a map of 16 x 16 cells, for images of 128 pixels


def build_deeplab(image_size: int, width: int, seed: int) -> Any:
    """A small DeepLabv3+: images [B, H, W, 3] -> logits [B, H, W, 1].

    Letters: S = H / 4 the decoder's size, E = H / `OUTPUT_STRIDE` the encoder's.
    """
    import keras
    from keras import layers

    def conv(x: Any, channels: int, size: int = 3, stride: int = 1, rate: int = 1) -> Any:
        x = layers.Conv2D(
            channels, size, stride, padding="same", dilation_rate=rate, use_bias=False
        )(x)
        return layers.Activation("relu")(layers.GroupNormalization(GROUPS)(x))

    def residual(x: Any, channels: int, stride: int = 1, rate: int = 1) -> Any:
        y = conv(conv(x, channels, stride=stride, rate=rate), channels, rate=rate)
        if stride > 1 or x.shape[-1] != channels:
            x = layers.Conv2D(channels, 1, stride)(x)
        return layers.Add()([x, y])

    keras.utils.set_random_seed(seed)
    images = keras.Input((image_size, image_size, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(images)
    x = conv(x, width, stride=2)
    low = residual(x, 2 * width, stride=2)  # [B, S, S, 2 width]
    x = residual(low, 4 * width, stride=2)  # [B, E, E, 4 width]
    x = residual(residual(x, 4 * width, rate=ATROUS_RATE), 4 * width, rate=ATROUS_RATE)

    cells = image_size // OUTPUT_STRIDE
    pooled = layers.GlobalAveragePooling2D(keepdims=True)(x)
    pooled = layers.Activation("relu")(layers.Conv2D(2 * width, 1)(pooled))
    branches = [conv(x, 2 * width, size=1), layers.UpSampling2D(cells)(pooled)]
    branches += [conv(x, 2 * width, rate=rate) for rate in ASPP_RATES]
    x = conv(layers.Concatenate()(branches), 4 * width, size=1)

    x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    x = layers.Concatenate()([x, conv(low, width, size=1)])
    x = layers.Conv2D(1, 1)(conv(x, 2 * width))  # [B, S, S, 1]
    return keras.Model(images, layers.UpSampling2D(4, interpolation="bilinear")(x))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status."""
    network = unet.Network("deeplab", __doc__ or "", build_deeplab, lambda: OUTPUT_STRIDE)
    return unet.main(argv, network)


if __name__ == "__main__":
    sys.exit(main())
