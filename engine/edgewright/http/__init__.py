"""The one client for outgoing HTTP: bounds, retries, redirects, redaction and errors. Used by ``forges``,
``notifications`` and ``delivery.relayed``.

``client`` sends one request, ``retry`` repeats it, ``limits`` has the settings of both and imports no HTTP library.
"""
