"""Devices reached over SSH: the controller goes to each of them, and nothing of ours has to run there all the time.

::

    driver      SshDriver: the delivery port, and who works on devices when
    attending   threads: whose turn it is (``schedule``, pure), and at most so many at a time
    visiting    one pass over one device: look, bring, switch, and tell the truth about it
    bringing    files that a device lacks, as one stream (``uploads``, pure, says which)
    connecting  a Fabric connection with checked host keys (``hostkeys``, pure), bounded by ``cutoff``
    noting      what passes find out, durably, many in one transaction
    scripts     what devices are asked to run, as text; ``looks`` reads what they say; both pure
    places      where a device is, from the specs; pure
"""
