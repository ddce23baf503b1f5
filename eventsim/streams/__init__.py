"""What comes out of the sensors: events and spike streams, and what can be read from them."""
