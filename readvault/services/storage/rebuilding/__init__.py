"""Records in the bucket, and the database that is made again from them."""
