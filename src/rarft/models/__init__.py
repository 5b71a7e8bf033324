"""Language models: loading, prompts, and log-probs and samples that compute a shared prompt once.

Import from `rarft.models.loading`, `.prompts`, `.prefix` and `.generation`: these need torch, this file does not.
"""
