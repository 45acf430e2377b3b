"""A data set that draws its own images, masks at full size, and the Edge Agreement Head."""

import math
import os

import keras
import mrcnn.model as modellib
import numpy as np
from mrcnn import visualize
from mrcnn.config import Config
from mrcnn.model import MaskRCNN
from mrcnn.utils import Dataset, compute_ap_range, compute_matches, compute_recall
from skimage.draw import disk, polygon

LOGS = os.path.join(os.getcwd(), "logs")
WEIGHTS = os.path.join(os.getcwd(), "mask_rcnn_coco.h5")


class ShapesConfig(Config):
    NAME = "shapes"
    RUN_NAME = "sobel"
    BACKBONE = "resnet50"
    IMAGES_PER_GPU = 2
    NUM_CLASSES = 1 + 2
    IMAGE_MIN_DIM = 64
    IMAGE_MAX_DIM = 64
    USE_MINI_MASK = False
    RPN_ANCHOR_SCALES = (8, 12, 16, 24, 32)
    RPN_TRAIN_ANCHORS_PER_IMAGE = 32
    TOP_DOWN_PYRAMID_SIZE = 64
    FPN_CLASSIF_FC_LAYERS_SIZE = 64
    POST_NMS_ROIS_TRAINING = 100
    POST_NMS_ROIS_INFERENCE = 50
    TRAIN_ROIS_PER_IMAGE = 12
    MAX_GT_INSTANCES = 4
    STEPS_PER_EPOCH = 2
    VALIDATION_STEPS = 1
    MEAN_PIXEL = np.array([60.0, 60.0, 60.0])
    EDGE_LOSS_FILTERS = ["sobel-x", "sobel-y"]


class ShapesInferenceConfig(ShapesConfig):
    IMAGES_PER_GPU = 1
    DETECTION_MIN_CONFIDENCE = 0.0
    DETECTION_MAX_INSTANCES = 4


class ShapesDataset(Dataset):
    def load_shapes(self, count, size):
        self.add_class("shapes", 1, "circle")
        self.add_class("shapes", 2, "triangle")
        for i in range(count):
            shapes = [("circle", 16 + i, 18), ("triangle", 44, 40 - i)]
            self.add_image("shapes", image_id=i, path=None, size=size, shapes=shapes)

    def pixels(self, shape, y, x, size):
        if shape == "circle":
            return disk((y, x), 10, shape=(size, size))
        half = 12 / math.sin(math.radians(60))
        return polygon([y - 12, y + 12, y + 12], [x, x - half, x + half], shape=(size, size))

    def load_image(self, image_id):
        info = self.image_info[image_id]
        image = np.full((info["size"], info["size"], 3), 40, dtype=np.uint8)
        for shape, y, x in info["shapes"]:
            image[self.pixels(shape, y, x, info["size"])] = (200, 120, 30 * image_id)
        return image

    def load_mask(self, image_id):
        info = self.image_info[image_id]
        shapes = info["shapes"]
        mask = np.zeros([info["size"], info["size"], len(shapes)], dtype=np.uint8)
        for i, (shape, y, x) in enumerate(shapes):
            mask[:, :, i][self.pixels(shape, y, x, info["size"])] = 1
        class_ids = np.array([self.class_names.index(shape) for shape, _, _ in shapes])
        return mask.astype(bool), class_ids.astype(np.int32)


class CountEpochs(keras.callbacks.Callback):
    epochs = 0

    def on_epoch_end(self, epoch, logs=None):
        CountEpochs.epochs += 1
        assert np.isfinite(logs["mrcnn_mask_edge_loss"])


dataset_train, dataset_val = ShapesDataset(), ShapesDataset()
dataset_train.load_shapes(4, 64)
dataset_val.load_shapes(2, 64)
dataset_train.prepare()
dataset_val.prepare()

config = ShapesConfig()
model = MaskRCNN("training", config, LOGS)
model.load_weights(
    WEIGHTS,
    by_name=True,
    exclude=["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_bbox", "mrcnn_mask", "conv1"],
)
print(model.keras_model.summary(line_length=100, expand_nested=False, print_fn=len))
model.train(
    dataset_train,
    dataset_val,
    config.LEARNING_RATE,
    1,
    r"(mrcnn\_.*)|(rpn\_.*)|(fpn\_.*)",
    custom_callbacks=[CountEpochs()],
)
assert CountEpochs.epochs == 1

config = ShapesInferenceConfig()
model = MaskRCNN("inference", config, LOGS)
model.load_weights(model.find_last())

image, image_meta, gt_class_ids, gt_bbox, gt_mask = modellib.load_image_gt(dataset_val, config, 1)
print("scale", modellib.parse_image_meta(image_meta[np.newaxis])["scale"])
molded = modellib.mold_image(image.astype(np.float32), config)
r = model.detect_molded(molded[np.newaxis], image_meta[np.newaxis], verbose=1)[0]
np.testing.assert_array_equal(modellib.unmold_image(molded, config), image)

truth = (gt_bbox, gt_class_ids, gt_mask)
found = (r["rois"], r["class_ids"], r["scores"], r["masks"])
gt_match, pred_match, overlaps = compute_matches(*truth, *found, iou_threshold=0.5)
print("AP range", compute_ap_range(*truth, *found))
print("recall", compute_recall(r["rois"], gt_bbox, 0.2))
visualize.display_differences(image, *truth, *found, dataset_val.class_names, iou_threshold=0.3)
visualize.plot_overlaps(
    gt_class_ids, r["class_ids"], r["scores"], overlaps, dataset_val.class_names
)
visualize.plot_precision_recall(0.5, np.array([1.0, 0.5, 0.0]), np.array([0.0, 0.5, 1.0]))
visualize.display_images([image, gt_mask[:, :, 0]], titles=["image", gt_class_ids[0]], cols=2)
visualize.display_weight_stats(model)
print("Detected {} of {}".format((gt_match > -1).sum(), len(gt_class_ids)))
