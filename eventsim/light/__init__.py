"""What falls on the sensor: frames and scenes, in linear luminance."""
