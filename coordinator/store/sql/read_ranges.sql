-- A table of ranges as Parquet, every column as text.
SELECT CAST(COLUMNS(*) AS VARCHAR) FROM read_parquet($path)
