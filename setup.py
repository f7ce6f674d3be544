"""A shim: all metadata is in pyproject.toml. Beam's workers install a checkout through this file."""

from setuptools import setup

setup()
