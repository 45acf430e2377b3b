"""Annotation formats other than COCO's, each read into the content of a COCO json.

A format is a subclass of `source.Source` in a file of its own, and a line in `registry.FORMATS`.
What it reads goes through the reader of COCO's format, the doctor and the evaluations like a json
in that format; only here is known how a tool writes things down.
"""
