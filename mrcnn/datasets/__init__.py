"""Readers and writers of real annotation formats, on `mrcnn.data.dataset`."""
