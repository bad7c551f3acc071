# Included where the real file would be.
