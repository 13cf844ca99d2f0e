"""A language model: its tokens, its texts, its blocks, what is adapted, and how it writes."""
