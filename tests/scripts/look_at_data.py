"""A look at a data set before training: masks, resizing, anchors, batches and their targets."""

import os
import sys

import numpy as np
from skimage.io import imread

sys.path.append(os.path.abspath("."))

import mrcnn.model as modellib
from mrcnn import utils, visualize
from mrcnn.config import Config
from mrcnn.model import log


class FruitConfig(Config):
    NAME = "fruit"
    IMAGES_PER_GPU = 2
    NUM_CLASSES = 1 + 2
    IMAGE_MIN_DIM = 128
    IMAGE_MAX_DIM = 128
    RPN_ANCHOR_SCALES = (8, 16, 32, 64, 128)
    TRAIN_ROIS_PER_IMAGE = 32


class FruitDataset(utils.Dataset):
    def load_fruit(self, folder):
        for class_id, name in enumerate(["apple", "pear"], 1):
            self.add_class("fruit", class_id, name)
        for name in sorted(os.listdir(folder)):
            path = os.path.join(folder, name, "image.png")
            height, width = imread(path).shape[:2]
            self.add_image("fruit", name, path, width=width, height=height)

    def load_mask(self, image_id):
        info = self.image_info[image_id]
        folder = os.path.join(os.path.dirname(info["path"]), "masks")
        files = sorted(os.listdir(folder))
        mask = np.zeros([info["height"], info["width"], len(files)], dtype=bool)
        for i, file in enumerate(files):
            mask[:, :, i] = imread(os.path.join(folder, file)).astype(bool)
        class_ids = [self.map_source_class_id("fruit.%d" % (i + 1)) for i in range(len(files))]
        return mask, np.array(class_ids, dtype=np.int32)


config = FruitConfig()
dataset = FruitDataset()
dataset.load_fruit(os.path.join("fruit", "train"))
dataset.prepare()
print("Image Count: {}".format(len(dataset.image_ids)))
for i, info in enumerate(dataset.class_info):
    print("{:3}. {:50}".format(i, info["name"]), dataset.get_source_class_id(i, info["source"]))

# Resizing.
image_id = dataset.image_ids[1]
image = dataset.load_image(image_id)
mask, class_ids = dataset.load_mask(image_id)
original_shape = image.shape
image, window, scale, padding, crop = utils.resize_image(
    image,
    min_dim=config.IMAGE_MIN_DIM,
    max_dim=config.IMAGE_MAX_DIM,
    min_scale=config.IMAGE_MIN_SCALE,
    mode=config.IMAGE_RESIZE_MODE,
)
mask = utils.resize_mask(mask, scale, padding, crop)
bbox = utils.extract_bboxes(mask)
print("Original shape: ", original_shape, "window", window, dataset.image_reference(image_id))
log("image", image)
log("mask", mask)
log("bbox", bbox)
visualize.display_instances(image, bbox, mask, class_ids, dataset.class_names)
meta = modellib.compose_image_meta(
    image_id, original_shape, image.shape, window, scale, np.ones([config.NUM_CLASSES])
)
assert meta.shape == (config.IMAGE_META_SIZE,)

# Mini masks.
image, image_meta, class_ids, bbox, mask = modellib.load_image_gt(
    dataset, config, image_id, augment=True, use_mini_mask=True
)
visualize.display_images([image] + [mask[:, :, i] for i in range(min(mask.shape[-1], 7))])
mask = utils.expand_mask(bbox, mask, image.shape)
visualize.display_instances(image, bbox, mask, class_ids, dataset.class_names)

# Anchors, and which of them match an object.
backbone_shapes = modellib.compute_backbone_shapes(config, config.IMAGE_SHAPE)
anchors = utils.generate_pyramid_anchors(
    config.RPN_ANCHOR_SCALES,
    config.RPN_ANCHOR_RATIOS,
    backbone_shapes,
    config.BACKBONE_STRIDES,
    config.RPN_ANCHOR_STRIDE,
)
print("Anchors: ", anchors.shape)
rpn_match, rpn_bbox = modellib.build_rpn_targets(image.shape, anchors, class_ids, bbox, config)
positive = np.where(rpn_match == 1)[0]
moved = utils.apply_box_deltas(
    anchors[positive], rpn_bbox[: len(positive)] * config.RPN_BBOX_STD_DEV
)
assert utils.compute_overlaps(moved, bbox).max(axis=1).min() > 0.99
visualize.draw_boxes(image, boxes=anchors[positive], refined_boxes=moved)

# Batches.
g = modellib.data_generator(
    dataset, config, shuffle=True, random_rois=100, batch_size=4, detection_targets=True
)
[
    [images, metas, rpn_match, rpn_bbox, gt_class_ids, gt_boxes, gt_masks, rpn_rois, rois],
    [mrcnn_class_ids, mrcnn_bbox, mrcnn_mask],
] = next(g)
for name in ["rois", "rpn_rois", "gt_boxes", "mrcnn_class_ids", "mrcnn_bbox", "mrcnn_mask"]:
    log(name, globals()[name])
b = 0
sample_image = modellib.unmold_image(images[b], config)
visualize.draw_rois(
    sample_image,
    rois[b][:5],
    rois[b][:5],
    np.zeros((5,) + sample_image.shape[:2]),
    mrcnn_class_ids[b, :5, 0],
    dataset.class_names,
    limit=2,
)
print("Positive ROIs: ", mrcnn_class_ids[b][mrcnn_class_ids[b] > 0].shape[0])

generator = modellib.DataGenerator(dataset, config, shuffle=False)
inputs, outputs = generator[0]
assert len(generator) == 2 and len(inputs[0]) == config.BATCH_SIZE and outputs == []
print("Batches: ", len(generator))
