"""The evaluators that come with Paceline; they enter by the same door as others'."""
