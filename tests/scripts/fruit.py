"""A custom data set from a folder of images and masks: train, detect, evaluate."""

import os
import random
import sys

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

ROOT_DIR = os.path.abspath(".")
sys.path.append(ROOT_DIR)

import mrcnn.model as modellib
from mrcnn import utils, visualize
from mrcnn.config import Config
from mrcnn.model import log

MODEL_DIR = os.path.join(ROOT_DIR, "logs")
COCO_MODEL_PATH = os.path.join(ROOT_DIR, "mask_rcnn_coco.h5")
if not os.path.exists(COCO_MODEL_PATH):
    utils.download_trained_weights(COCO_MODEL_PATH)


class FruitConfig(Config):
    NAME = "fruit"
    BACKBONE = "resnet50"
    GPU_COUNT = 1
    IMAGES_PER_GPU = 2
    NUM_CLASSES = 1 + 2  # background, apple, pear
    IMAGE_MIN_DIM = 128
    IMAGE_MAX_DIM = 128
    RPN_ANCHOR_SCALES = (8, 16, 32, 64, 128)
    TOP_DOWN_PYRAMID_SIZE = 64
    FPN_CLASSIF_FC_LAYERS_SIZE = 64
    POST_NMS_ROIS_TRAINING = 50
    POST_NMS_ROIS_INFERENCE = 50
    TRAIN_ROIS_PER_IMAGE = 8
    MAX_GT_INSTANCES = 5
    STEPS_PER_EPOCH = 2
    VALIDATION_STEPS = 1


class InferenceConfig(FruitConfig):
    GPU_COUNT = 1
    IMAGES_PER_GPU = 1
    DETECTION_MIN_CONFIDENCE = 0
    DETECTION_MAX_INSTANCES = 5


class FruitDataset(utils.Dataset):
    def load_fruit(self, dataset_dir, subset):
        self.add_class("fruit", 1, "apple")
        self.add_class("fruit", 2, "pear")
        assert subset in ["train", "val"]
        folder = os.path.join(dataset_dir, subset)
        for name in sorted(os.listdir(folder)):
            self.add_image(
                "fruit",
                image_id=name,
                path=os.path.join(folder, name, "image.png"),
                mask_dir=os.path.join(folder, name, "masks"),
            )

    def load_mask(self, image_id):
        info = self.image_info[image_id]
        if info["source"] != "fruit":
            return super(self.__class__, self).load_mask(image_id)
        masks, class_ids = [], []
        for file in sorted(os.listdir(info["mask_dir"])):
            masks.append(np.array(Image.open(os.path.join(info["mask_dir"], file))) > 0)
            class_ids.append(self.class_names.index(file.split("_")[0]))
        return np.stack(masks, axis=-1), np.array(class_ids, dtype=np.int32)

    def image_reference(self, image_id):
        info = self.image_info[image_id]
        if info["source"] == "fruit":
            return info["path"]
        return super(self.__class__, self).image_reference(image_id)


config = FruitConfig()
config.display()

dataset_train = FruitDataset()
dataset_train.load_fruit("fruit", "train")
dataset_train.prepare()
dataset_val = FruitDataset()
dataset_val.load_fruit("fruit", "val")
dataset_val.prepare()
print("Images: {}\nClasses: {}".format(len(dataset_train.image_ids), dataset_train.class_names))

for image_id in np.random.choice(dataset_train.image_ids, 2):
    image = dataset_train.load_image(image_id)
    mask, class_ids = dataset_train.load_mask(image_id)
    visualize.display_top_masks(image, mask, class_ids, dataset_train.class_names)

# Training: the heads first, then everything at a tenth of the rate.
model = modellib.MaskRCNN(mode="training", config=config, model_dir=MODEL_DIR)
model.load_weights(
    COCO_MODEL_PATH,
    by_name=True,
    exclude=["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_bbox", "mrcnn_mask"],
)
model.train(
    dataset_train, dataset_val, learning_rate=config.LEARNING_RATE, epochs=1, layers="heads"
)
model.train(
    dataset_train, dataset_val, learning_rate=config.LEARNING_RATE / 10, epochs=2, layers="all"
)
model_path = os.path.join(MODEL_DIR, "mask_rcnn_fruit.h5")
model.keras_model.save_weights(model_path)

# Detection.
inference_config = InferenceConfig()
model = modellib.MaskRCNN(mode="inference", config=inference_config, model_dir=MODEL_DIR)
model_path = model.find_last()
print("Loading weights from ", model_path)
model.load_weights(model_path, by_name=True)

image_id = random.choice(dataset_val.image_ids)
original_image, image_meta, gt_class_id, gt_bbox, gt_mask = modellib.load_image_gt(
    dataset_val, inference_config, image_id, use_mini_mask=False
)
log("original_image", original_image)
log("image_meta", image_meta)
log("gt_class_id", gt_class_id)
log("gt_bbox", gt_bbox)
log("gt_mask", gt_mask)
visualize.display_instances(
    original_image, gt_bbox, gt_mask, gt_class_id, dataset_train.class_names, figsize=(8, 8)
)
results = model.detect([original_image], verbose=1)
r = results[0]
fig, ax = plt.subplots(1, figsize=(8, 8))
visualize.display_instances(
    original_image,
    r["rois"],
    r["masks"],
    r["class_ids"],
    dataset_val.class_names,
    r["scores"],
    ax=ax,
)
fig.savefig("detections.png")

# Evaluation.
APs = []
for image_id in np.random.choice(dataset_val.image_ids, 2):
    image, image_meta, gt_class_id, gt_bbox, gt_mask = modellib.load_image_gt(
        dataset_val, inference_config, image_id, use_mini_mask=False
    )
    molded_images = np.expand_dims(modellib.mold_image(image, inference_config), 0)
    print("molded", molded_images.shape, molded_images.dtype)
    results = model.detect([image], verbose=0)
    r = results[0]
    AP, precisions, recalls, overlaps = utils.compute_ap(
        gt_bbox, gt_class_id, gt_mask, r["rois"], r["class_ids"], r["scores"], r["masks"]
    )
    APs.append(AP)
print("mAP: ", np.mean(APs))
