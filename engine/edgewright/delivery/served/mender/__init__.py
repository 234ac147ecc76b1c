"""Mender: edgewright serves the device API of a Mender server, so that devices with Mender's client poll edgewright.

::

    messages        parses what clients send, strictly
    authentication  verifies the signature of a request, and finds its device
    tokens          tokens of accepted devices, and links to artifacts
    conversation    applies a device's requests to its twin (pure); ``failure_logs`` explains a failure by its log
    orders          the content of an artifact: install a release, or remove a model
    artifacts       the file format (version 3); ``composed_file`` reads it from published files, without a copy
    responses       builds responses, files and ranges of files too
    service         all of it for one environment
    driver          the delivery port

``server.devices.mender_routes`` calls ``service``.
"""
