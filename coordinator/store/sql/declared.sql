-- For each report of a commit group, the row of probes that holds now.
SELECT a.report_no, p.declaration_no
FROM arriving AS a
INNER JOIN current_probes AS p ON p.probe_id = a.probe_id
