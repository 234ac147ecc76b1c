"""Devices reached over SSH: the controller connects to each of them, and no agent has to run there.

::

    driver         SshDriver: the delivery port
    pool           one thread for each session, bounded in number; ``schedule`` (pure) picks the devices that are due
    session        one session with one device: connect, inspect, begin its jobs, record what was found
    jobs           carries one job out: upload, switch or order the installer, notify the application
    upload         sends the files a device lacks as one stream; ``missing_files`` (pure) plans it
    connection     a Fabric connection with checked host keys (``hostkeys``, pure), bounded by ``deadline``
    keyring        the controller's own private keys
    twin_writes    changes of twins by many threads, batched in one transaction
    scripts        shell scripts for devices, as text (pure); ``inspection`` (pure) parses their output
    targets        address, user, key and settings of a device, from specs and inventory (pure)
    errors         what can go wrong with one device
"""
