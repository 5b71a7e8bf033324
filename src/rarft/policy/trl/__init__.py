"""The policy's trainers: TRL's, with a group's prompt computed once."""
