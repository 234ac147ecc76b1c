"""hawkBit's device API (DDI), so that SWUpdate, rauc-hawkbit-updater and others poll edgewright.

::

    messages        parses requests of devices: feedback and attributes (pure)
    actions         applies them to a twin (pure)
    responses       builds the JSON of responses (pure)
    authentication  device and gateway tokens
    downloads       serves bundles, whole or in ranges
    service         all of it for one environment
    driver          the delivery port

Format: https://www.eclipse.dev/hawkbit/apis/ddi_api/.
"""
