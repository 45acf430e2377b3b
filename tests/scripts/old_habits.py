"""What scripts of several years have in common: star imports, pairs, floats, lists, full masks."""

import os

import keras
import tensorflow as tf
from mrcnn.config import *
from mrcnn.model import *
from mrcnn.utils import *
from mrcnn.visualize import *

FRUIT = os.path.join(os.path.abspath("."), "fruit")
LOGS = os.path.join(os.path.abspath("."), "habits")


class FruitConfig(Config):
    NAME = "habits"
    BACKBONE = "resnet50"
    GPU_COUNT = 1
    IMAGES_PER_GPU = 1
    NUM_CLASSES = 1 + 2
    IMAGE_MIN_DIM = 256 / 2
    IMAGE_MAX_DIM = np.float64(128)
    RPN_ANCHOR_SCALES = (8, 16, 32, 64, 128)
    MEAN_PIXEL = np.array([43.5, 41.0, 50.1])
    TOP_DOWN_PYRAMID_SIZE = 64
    FPN_CLASSIF_FC_LAYERS_SIZE = 64
    POST_NMS_ROIS_TRAINING = 50
    POST_NMS_ROIS_INFERENCE = 50
    TRAIN_ROIS_PER_IMAGE = 8
    MAX_GT_INSTANCES = 5
    STEPS_PER_EPOCH = 3 / 2
    VALIDATION_STEPS = np.ceil(STEPS_PER_EPOCH / 20)


class PredictionConfig(FruitConfig):
    DETECTION_MIN_CONFIDENCE = 0
    DETECTION_MAX_INSTANCES = 5


class FruitDataset(Dataset):
    def load_fruit(self, subset):
        self.add_class("fruit", 1, "apple")
        self.add_class("fruit", 2, "pear")
        for name in sorted(os.listdir(os.path.join(FRUIT, subset))):
            path = os.path.join(FRUIT, subset, name, "image.png")
            self.add_image("fruit", image_id=name, path=path)

    def load_mask(self, image_id):
        folder = os.path.join(os.path.dirname(self.image_info[image_id]["path"]), "masks")
        files = sorted(os.listdir(folder))
        masks = [skimage.io.imread(os.path.join(folder, file)) > 0 for file in files]
        return np.stack(masks, axis=-1), [self.class_names.index(f.split("_")[0]) for f in files]


def evaluate_model(dataset, model, cfg):
    APs = list()
    for image_id in dataset.image_ids:
        image, image_meta, gt_class_id, gt_bbox, gt_mask = load_image_gt(dataset, cfg, image_id)
        scaled_image = mold_image(image, cfg)
        sample = np.expand_dims(scaled_image, 0)
        yhat = model.detect(sample, verbose=0)
        r = yhat[0]
        AP, _, _, _ = compute_ap(
            gt_bbox, gt_class_id, gt_mask, r["rois"], r["class_ids"], r["scores"], r["masks"]
        )
        APs.append(AP)
    return np.mean(APs)


class MeanAveragePrecision(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        print("epoch", epoch, "has", sorted(logs)[0])


train_set, test_set = FruitDataset(), FruitDataset()
train_set.load_fruit("train")
train_set.prepare()
test_set.load_fruit("val")
test_set.prepare()

config = FruitConfig()
model = MaskRCNN("training", config, LOGS)
with open(os.path.join(model.log_dir, "configuration.log"), "w") as file:
    config.display(file=file)
model.load_weights(
    "mask_rcnn_coco.h5",
    by_name=True,
    exclude=["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_bbox", "mrcnn_mask"],
)
with open(os.path.join(model.log_dir, "configuration.log"), "w") as file:
    config.display(file=file)
print(model.keras_model.get_layer("output_rois").output.shape)
print(model.keras_model.get_layer("input_rpn_match").output.shape)
model.train(
    train_set,
    test_set,
    learning_rate=config.LEARNING_RATE,
    epochs=1,
    layers="heads",
    augmentation=False,
    custom_callbacks=[MeanAveragePrecision()],
)

config = PredictionConfig()
model = MaskRCNN(mode="inference", model_dir=LOGS, config=config)
log_dir, checkpoint = model.find_last()
assert os.listdir(log_dir) and checkpoint == model.find_last()[1]
model.load_weights(model.find_last()[1], by_name=True)
model.keras_model._make_predict_function()
print("mAP", evaluate_model(test_set, model, config))

image, meta, class_ids, bbox, mask = load_image_gt(test_set, config, 0, use_mini_mask=True)
log("mini masks", mask)
display_instances(image, bbox, mask, class_ids, test_set.class_names)
print("mini", compute_ap(bbox, class_ids, mask, bbox, class_ids, np.ones(2), mask)[0])
activations = model.run_graph(
    [image],
    [
        ("input_image", tf.identity(model.keras_model.get_layer("input_image").output)),
        ("res2c_out", model.keras_model.get_layer("res2c_out").output),
    ],
)
plt.imshow(unmold_image(activations["input_image"][0], config))
molded_images, image_metas, windows = model.mold_inputs([image])
detections, _, _, mrcnn_mask, _, _, _ = model.keras_model.predict(
    [molded_images, image_metas], verbose=0
)
rois, class_ids, scores, masks = model.unmold_detections(
    detections[0], mrcnn_mask[0], image.shape, molded_images[0].shape, windows[0]
)
print("found", utils.extract_bboxes(masks).shape, "of", rois.shape)
