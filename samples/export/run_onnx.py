"""Run an exported network in ONNX Runtime: python run_onnx.py FILE.onnx PICTURE OUT.png"""

import sys
from pathlib import Path

import onnxruntime
from drawing import draw, read_picture

path, picture_path, output = sys.argv[1:]
labels = Path(path).with_suffix(".labels.txt").read_text().splitlines()
session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
names = [tensor.name for tensor in session.get_outputs()]

picture = read_picture(picture_path)
found = dict(zip(names, session.run(names, {"image": picture}), strict=True))
draw(picture, found, labels, output)
