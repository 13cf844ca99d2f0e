"""MiniLM on rated sentences: the head alone, LoRA, whole matrices, everything.

What each of them learns on films and brings to other texts, and what its update looks like.
"""
