"""Run an exported network in TensorFlow: python run_savedmodel.py FOLDER PICTURE OUT.png"""

import sys
from pathlib import Path

import tensorflow as tf
from drawing import draw, read_picture

path, picture_path, output = sys.argv[1:]
labels = Path(path).with_suffix(".labels.txt").read_text().splitlines()
loaded = tf.saved_model.load(path)
network = loaded.signatures["serving_default"]

picture = read_picture(picture_path)
found = network(image=tf.constant(picture))
draw(picture, {name: tensor.numpy() for name, tensor in found.items()}, labels, output)
