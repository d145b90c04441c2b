"""The request log: a sample of the finished requests and all feedback, masked, as Parquet files."""
