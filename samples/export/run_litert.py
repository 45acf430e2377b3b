"""Run an exported network in LiteRT: python run_litert.py FILE.tflite PICTURE OUT.png

The picture must have the size that the file takes.
"""

import sys
from pathlib import Path

from ai_edge_litert.interpreter import Interpreter
from drawing import draw, read_picture

path, picture_path, output = sys.argv[1:]
labels = Path(path).with_suffix(".labels.txt").read_text().splitlines()
interpreter = Interpreter(path)
network = interpreter.get_signature_runner()

picture = read_picture(picture_path)
draw(picture, network(image=picture), labels, output)
