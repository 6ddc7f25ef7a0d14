"""Where pictures come from: drawn scenes with exact ground truth."""
