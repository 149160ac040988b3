"""Raw sequencing reads for pathogen sequence databases: upload, process, review, release."""

__version__ = "0.1.0"
