"""Metrics of detections: COCO's, and Matterport's single-image AP."""
