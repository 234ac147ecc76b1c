"""How forges prove to webhooks that they know the secret."""

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import Literal

ForgeName = Literal["github", "gitlab", "gitea", "forgejo", "bitbucket", "azure", "generic"]


def sign(forge: ForgeName, secret: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
    """The headers of a delivery, with what proves that its sender knows the secret.

    GitLab: a secret that begins with ``whsec_`` is a signing token, any other is sent as it is. Azure DevOps: the
    secret is the password of basic authentication; the user is ``edgewright``.
    """
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    match forge:
        case "github":
            old = hmac.new(secret.encode(), body, hashlib.sha1).hexdigest()
            proof = {"X-Hub-Signature-256": f"sha256={signature}", "X-Hub-Signature": f"sha1={old}"}
        case "gitlab":
            proof = _gitlab_proof(secret, headers, body)
        case "gitea" | "forgejo":
            old = hmac.new(secret.encode(), body, hashlib.sha1).hexdigest()
            proof = {
                "X-Gogs-Signature": signature,
                "X-Gitea-Signature": signature,
                "X-Hub-Signature": f"sha1={old}",
                "X-Hub-Signature-256": f"sha256={signature}",
            }
            if forge == "forgejo":
                proof["X-Forgejo-Signature"] = signature
        case "bitbucket":
            proof = {"X-Hub-Signature": f"sha256={signature}"}
        case "azure":
            proof = {"Authorization": "Basic " + base64.b64encode(f"edgewright:{secret}".encode()).decode()}
        case "generic":
            proof = {"X-Signature": f"sha256={signature}"}
    return dict(headers) | proof


def _gitlab_proof(secret: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
    if not secret.startswith("whsec_"):
        return {"X-Gitlab-Token": secret}
    sent = str(int(time.time()))
    signed = f"{headers['Idempotency-Key']}.{sent}.".encode() + body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {
        "webhook-id": headers["Idempotency-Key"],
        "webhook-timestamp": sent,
        "webhook-signature": f"v1,{signature}",
    }
