"""Update systems whose clients call edgewright, which speaks their server's protocol."""
