"""Stage 1, gold-relevance distillation: which trace helps with which problem."""
