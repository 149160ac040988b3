"""A client of the API: files go straight to S3, in parts, and go on where they were cut off."""

from readvault.client.client import Client, files_cell
from readvault.client.transfer import ClientError, Ticket

__all__ = ["Client", "ClientError", "Ticket", "files_cell"]
