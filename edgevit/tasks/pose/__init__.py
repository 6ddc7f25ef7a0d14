"""The keypoints of each person."""
