"""Pictures of images, detections, losses and edges."""
