"""Functions from arrays and records to arrays and records; no files."""
