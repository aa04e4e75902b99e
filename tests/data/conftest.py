"""The labelled patients that these tests share with those of the benchmark."""

from benchmark.conftest import patients as patients
