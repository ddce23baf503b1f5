"""Files of streams: one module per format, chosen by suffix and content in `formats`."""
