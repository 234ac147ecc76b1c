"""What drivers have in common that push through a customer's own server: its HTTP API, and a worker for each."""
