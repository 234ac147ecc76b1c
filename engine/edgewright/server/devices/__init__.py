"""The APIs that devices call: our agent's, hawkBit's (DDI), Mender's; and the files of the published repository."""
