"""Measuring a bundle's files on a device."""
