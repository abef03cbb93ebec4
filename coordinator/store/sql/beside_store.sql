-- Beside the attached store: its results and counts by their names, and cells of our own.
CREATE VIEW results AS SELECT * FROM held.results;
CREATE VIEW result_rows AS SELECT * FROM held.result_rows;
CREATE VIEW rollups AS SELECT * FROM held.rollups;
CREATE TABLE cells AS SELECT * FROM held.cells LIMIT 0
