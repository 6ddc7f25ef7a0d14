"""The request, and every check of it before anything is loaded."""
