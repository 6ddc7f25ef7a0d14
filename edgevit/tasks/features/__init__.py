"""The feature maps of a backbone."""
