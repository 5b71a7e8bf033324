"""Word problems that tell a few arithmetic steps in words that the policy has never met."""
