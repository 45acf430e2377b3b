"""The steps of the network, one a file: thin Keras layers over `mrcnn.ops`."""
