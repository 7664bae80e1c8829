"""Stand-ins for things that tests cannot have, or cannot bring into the state that they need."""
