"""Signs descriptors with CMS, as SWUpdate verifies it. Called by ``swu``."""

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import PKCS7Options, PKCS7SignatureBuilder

from edgewright.delivery.identity.credentials import BundleKeys


def sign_detached(content: bytes, keys: BundleKeys) -> bytes:
    """Sign bytes.

    Returns:
        A CMS SignedData in DER with the signer's certificate, without the content.
    """
    builder = PKCS7SignatureBuilder().set_data(content).add_signer(keys.certificate, keys.key, SHA256())
    options = [PKCS7Options.DetachedSignature, PKCS7Options.Binary, PKCS7Options.NoCapabilities]
    return builder.sign(Encoding.DER, options)
