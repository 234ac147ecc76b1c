"""Serving hawkBit's device API (DDI), so that SWUpdate, rauc-hawkbit-updater and others poll edgewright.

``messages`` reads what devices send, ``actions`` turns it into changes of a twin, ``answers`` writes what they get; all
three are pure. ``desk`` does this for one environment, with ``access`` and ``downloads``; ``driver`` is the engine's
side.
Format: https://www.eclipse.dev/hawkbit/apis/ddi_api/.
"""
