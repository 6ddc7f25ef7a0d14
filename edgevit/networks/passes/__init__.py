"""Exact rewrites that any network can need, a file each; the systems' own stand in their rooms."""
