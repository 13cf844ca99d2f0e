"""The study on text: the small language model adapted to other texts, in many ways."""
