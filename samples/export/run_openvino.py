"""Run an exported network in OpenVINO: python run_openvino.py FILE.xml PICTURE OUT.png"""

import sys
from pathlib import Path

import openvino
from drawing import draw, read_picture

path, picture_path, output = sys.argv[1:]
labels = Path(path).with_suffix(".labels.txt").read_text().splitlines()
network = openvino.Core().compile_model(path, "CPU")

picture = read_picture(picture_path)
result = network({"image": picture})
found = {tensor.get_any_name(): result[tensor] for tensor in network.outputs}
draw(picture, found, labels, output)
