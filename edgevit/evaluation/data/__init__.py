"""The data that accuracy is measured on, as samples."""
