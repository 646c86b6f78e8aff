"""Makes places.py, which lies beside this file, importable."""
