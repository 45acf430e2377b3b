"""All that the package asks of TensorFlow itself, which is imported only when it is called.

Everything else computes with `keras.ops`. The kernels here are faster than those where XLA is not
used; but for the optimizer's, XLA cannot compile them. Each has a twin of the same meaning in
`mrcnn.ops` or in Keras, and a test that the two agree. `compilation.tf_kernels_available` says
whether a graph may use them.
"""
