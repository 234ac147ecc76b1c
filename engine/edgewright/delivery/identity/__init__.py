"""Device identities: enrollment, admission by an operator, certificates, credentials, tokens."""
