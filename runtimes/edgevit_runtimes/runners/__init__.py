"""One file a kind of device; only this machine so far."""
