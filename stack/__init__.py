"""What docker-compose.yml's containers run beside the tools' own programs."""
