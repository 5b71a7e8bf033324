"""The labelers: each scores how much a trace helps with a problem."""
