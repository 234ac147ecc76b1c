"""Objects in pictures: values of columns of type ``boxes``, and the formats that hold them. Used by ``dataset``."""
