"""The step package: an OCI artifact after CNCF ModelPack, with golden samples and a model card."""
