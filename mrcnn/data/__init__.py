"""The host side: data sets, images, masks, boxes, batches. NumPy only, no Keras."""
