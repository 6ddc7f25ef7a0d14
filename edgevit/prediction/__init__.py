"""Photos and clips through a bundle's file: prepare, run, decode, draw."""
