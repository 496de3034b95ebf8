"""The data of a run: hashes of its files, which are kept, and the record of them."""
