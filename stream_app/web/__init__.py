"""What a process says of itself over HTTP: `health.py` asks the components, `server.py` answers."""
