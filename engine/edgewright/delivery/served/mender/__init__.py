"""Mender: edgewright speaks the device API of a Mender server, so devices with Mender's client ask edgewright.

::

    messages        what clients send, parsed strictly
    authentication  whose key signed a request, and which device that is
    tokens          what accepted devices show afterwards
    conversation    what follows from what a device says: pure, a twin in and a twin out
    logs            why a deployment failed, by the log of its client
    orders          what an artifact orders a device to do
    artifacts       the file format (version 3)
    pieces          files that are put together while they are read
    desk            all of it for one environment: bytes in, answers out
    answers         what is sent back, files and parts of files too
    driver          the delivery port

``server.mender_routes`` is the way in by HTTP.
"""
