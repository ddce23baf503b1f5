"""From light to data sets: cameras record scenes and whole folders of pictures."""
