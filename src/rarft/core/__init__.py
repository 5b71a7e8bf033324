"""What every stage stands on: configs, errors, progress, and folders that are whole or absent."""
