"""Every row, table and JSON that a person or a script sees."""
