"""The export workshop: an nn.Module in, a file of one of four formats out. Knows nothing of
edgevit.
"""
