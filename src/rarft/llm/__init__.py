"""The client of an OpenAI-compatible server, and answers that survive a kill."""
