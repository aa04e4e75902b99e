"""The version of fewct, said once."""

__version__ = "0.1.0"
