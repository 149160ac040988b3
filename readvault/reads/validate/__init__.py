"""Is what came in readable, well formed and in step? Every kind of file, turned into plain FASTQ."""
