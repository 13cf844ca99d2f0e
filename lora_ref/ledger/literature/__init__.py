"""The literature: published numbers about LoRA, recomputed."""
