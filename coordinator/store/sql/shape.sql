-- Every column of every table and view, with its type.
SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal
