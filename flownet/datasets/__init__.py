"""Data sets for training: samples of consecutive grey frames with the events between them."""
