"""The controller: follows Git, serves webhooks and health, keeps reality equal to what is declared."""
