"""Labelled data in the layouts that other programs train on."""
