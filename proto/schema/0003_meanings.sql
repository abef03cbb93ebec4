-- What columns mean that had no comment. Those of result_rows and result_facts mean what they mean in
-- the view results.

COMMENT ON COLUMN batches.probe_id IS 'The probe that sent it.';
COMMENT ON COLUMN batches.epoch IS 'The probe process that made it; boot_id as a number.';
COMMENT ON COLUMN batches.seq IS 'Its number within the epoch, from 1.';
COMMENT ON COLUMN batches.row_count IS 'Rows in it.';
COMMENT ON COLUMN batches.received_at IS 'When the coordinator took it in.';

COMMENT ON COLUMN cells.vantage IS 'Name of the vantage point.';
COMMENT ON COLUMN cells.vantage_asn IS 'AS number of its network; NULL = not declared.';
COMMENT ON COLUMN cells.vantage_country IS 'Two letters; NULL = not declared.';
COMMENT ON COLUMN cells.service IS 'What people name.';
COMMENT ON COLUMN cells.component IS 'A part of it.';
COMMENT ON COLUMN cells.role IS 'What the component is for its service; NULL = the imported rows did not say.';
COMMENT ON COLUMN cells.kind IS 'Kind of the checks that are counted.';
COMMENT ON COLUMN cells.family IS '4 or 6; NULL = the imported rows did not say.';
COMMENT ON COLUMN cells.address IS 'Where the attempts went; NULL = it was not known or not kept apart.';
COMMENT ON COLUMN cells.target_asn IS 'AS number of the target, as declared.';
COMMENT ON COLUMN cells.target_prefix IS 'Announced prefix of the target, as declared.';
COMMENT ON COLUMN cells.sent IS 'Attempts made.';
COMMENT ON COLUMN cells.lost IS 'Attempts without a good answer in time.';
COMMENT ON COLUMN cells.operation IS 'The step that failed; NULL = no slot failed, packets may be lost.';
COMMENT ON COLUMN cells.failure IS 'How it failed; NULL = no slot failed, packets may be lost.';
COMMENT ON COLUMN cells.http_status IS 'Status of the answers counted here; NULL = no HTTP answer.';

COMMENT ON COLUMN certificates.cert_sha256 IS 'Of the certificate as received, in hex; results name it.';
COMMENT ON COLUMN certificates.seen_at IS 'When it first came.';
COMMENT ON COLUMN certificates.probe_id IS 'The probe that first saw it.';
COMMENT ON COLUMN certificates.subject IS 'Whom it names.';
COMMENT ON COLUMN certificates.issuer IS 'Who signed it.';
COMMENT ON COLUMN certificates.names IS 'Names and addresses that it is good for, a space between; NULL = it says none.';
COMMENT ON COLUMN certificates.not_before IS 'From when it is good.';
COMMENT ON COLUMN certificates.not_after IS 'Until when it is good.';
COMMENT ON COLUMN certificates.der IS 'The certificate itself.';

COMMENT ON COLUMN checks.check_id IS 'What it asks: service/component/kind/family, and the control.';
COMMENT ON COLUMN checks.kind IS 'What is done: icmp, tcp, http, dns, tls or trace.';
COMMENT ON COLUMN checks.service IS 'What people name; once = measured on request.';
COMMENT ON COLUMN checks.component IS 'A part of it.';
COMMENT ON COLUMN checks.host IS 'Name or address that is measured.';
COMMENT ON COLUMN checks.port IS 'NULL where the kind has none.';
COMMENT ON COLUMN checks.family IS 'Address family, 4 or 6.';
COMMENT ON COLUMN checks.timeout_s IS 'After this long the slot has failed.';
COMMENT ON COLUMN checks.target_asn IS 'AS number of the endpoint as the operator declared it.';
COMMENT ON COLUMN checks.config_version IS 'The configuration that defined it so.';

COMMENT ON COLUMN clock_offsets.at_time IS 'When the probe said so.';
COMMENT ON COLUMN clock_offsets.probe_id IS 'Whose clock it is.';
COMMENT ON COLUMN clock_offsets.offset_ms IS 'Coordinator minus probe.';
COMMENT ON COLUMN clock_offsets.error_ms IS 'The offset is right within this much either way.';

COMMENT ON COLUMN config_versions.config_version IS 'One more for every accepted text; NULL = it was refused.';
COMMENT ON COLUMN config_versions.loaded_at IS 'When it was read.';
COMMENT ON COLUMN config_versions.accepted IS 'Whether it came into force.';
COMMENT ON COLUMN config_versions.sha256 IS 'Of the text, in hex.';
COMMENT ON COLUMN config_versions.source IS 'The text.';
COMMENT ON COLUMN config_versions.findings IS 'What was wrong with it, a line each; NULL = nothing.';

COMMENT ON COLUMN gaps.probe_id IS 'Whose reports are missing.';
COMMENT ON COLUMN gaps.boot_id IS 'The probe process that made them.';
COMMENT ON COLUMN gaps.to_seq IS 'Last missing number.';
COMMENT ON COLUMN gaps.reports IS 'How many are missing.';

COMMENT ON COLUMN heartbeats.received_at IS 'By the coordinator''s clock.';
COMMENT ON COLUMN heartbeats.sent_at IS 'By the probe''s clock.';
COMMENT ON COLUMN heartbeats.probe_id IS 'Who speaks.';
COMMENT ON COLUMN heartbeats.plan_version IS 'The plan that it follows.';
COMMENT ON COLUMN heartbeats.uptime_s IS 'Since its process started.';
COMMENT ON COLUMN heartbeats.rss_bytes IS 'Resident memory of its process; NULL = its kernel would not say.';
COMMENT ON COLUMN heartbeats.cpu_s IS 'Processor time of its process since it started.';
COMMENT ON COLUMN heartbeats.spool_bytes IS 'What waits on its disk for an acknowledgement.';
COMMENT ON COLUMN heartbeats.spool_rows IS 'Rows that wait for an acknowledgement: on its disk, and those of the next report.';
COMMENT ON COLUMN heartbeats.evicted_rows IS 'Rows that it gave up for want of room, over all its starts. A row that had come but whose acknowledgement was lost may be among them.';
COMMENT ON COLUMN heartbeats.queue_depth IS 'Checks that wait or run.';
COMMENT ON COLUMN heartbeats.lateness_ms_p99 IS 'How late its last 1,000 checks started, 99th percentile; NULL = none has started yet.';
COMMENT ON COLUMN heartbeats.receive_drops IS 'Echo replies that its kernel dropped for want of buffer since the sockets were opened; NULL = it has none.';
COMMENT ON COLUMN heartbeats.clock_synchronised IS 'Whether its kernel believes that somebody disciplines the clock; NULL = it would not say.';

COMMENT ON COLUMN hops.slot_at IS 'Of the row of results.';
COMMENT ON COLUMN hops.received_at IS 'Of the row of results.';
COMMENT ON COLUMN hops.probe_id IS 'Of the row of results.';
COMMENT ON COLUMN hops.check_no IS 'Of the row of results.';
COMMENT ON COLUMN hops.trigger IS 'What made the trace.';
COMMENT ON COLUMN hops.service IS 'What people name.';
COMMENT ON COLUMN hops.component IS 'A part of it.';
COMMENT ON COLUMN hops.vantage IS 'Name of the vantage point.';
COMMENT ON COLUMN hops.vantage_asn IS 'AS number of its network as of this row.';
COMMENT ON COLUMN hops.vantage_country IS 'Two letters, as of this row.';
COMMENT ON COLUMN hops.packet IS 'Which of the packets with this time to live, from 0.';
COMMENT ON COLUMN hops.rtt_ms IS 'From sending the packet to what came back; NULL = nothing did.';
COMMENT ON COLUMN hops.icmp_code IS 'Of the ICMP error.';

COMMENT ON COLUMN imports.imported_at IS 'When.';
COMMENT ON COLUMN imports.path IS 'Where the file lay.';
COMMENT ON COLUMN imports.sha256 IS 'Of the file, in hex.';
COMMENT ON COLUMN imports.row_count IS 'Rows in it.';

COMMENT ON COLUMN incidents.incident_id IS 'The same over all revisions.';
COMMENT ON COLUMN incidents.revision IS 'From 1; the highest holds.';
COMMENT ON COLUMN incidents.service IS 'What failed.';
COMMENT ON COLUMN incidents.component IS 'A part of it; NULL = the whole service.';
COMMENT ON COLUMN incidents.level IS 'Whose fault it is: local, upstream, target, application or unknown.';
COMMENT ON COLUMN incidents.class IS 'The class of failure, from docs/ontology.md.';
COMMENT ON COLUMN incidents.onset_from IS 'It began no earlier.';
COMMENT ON COLUMN incidents.onset_to IS 'It began no later.';
COMMENT ON COLUMN incidents.end_from IS 'It ended no earlier; NULL = it has not ended.';
COMMENT ON COLUMN incidents.end_to IS 'It ended no later; NULL = it has not ended.';
COMMENT ON COLUMN incidents.probability IS 'Of the class.';
COMMENT ON COLUMN incidents.sentence IS 'What is said of it, fit for a post.';
COMMENT ON COLUMN incidents.recorded_at IS 'When this revision was made.';
COMMENT ON COLUMN incidents.body IS 'All of it as JSON.';

COMMENT ON COLUMN ledger.slot_at IS 'The instant at which it was due, by the probe''s wall clock.';
COMMENT ON COLUMN ledger.probe_id IS 'Who was to measure.';
COMMENT ON COLUMN ledger.check_no IS 'What was to be measured.';
COMMENT ON COLUMN ledger.state IS 'measured, not_run or unreported.';
COMMENT ON COLUMN ledger.reason IS 'Why it was not run; NULL = it was, or nobody knows.';
COMMENT ON COLUMN ledger.operation IS 'As in results.';
COMMENT ON COLUMN ledger.failure IS 'As in results.';
COMMENT ON COLUMN ledger.validity IS 'As in results.';

COMMENT ON COLUMN plans.probe_id IS 'Who was asked.';
COMMENT ON COLUMN plans.plan_version IS 'Number of the plan; plans of one content share it.';
COMMENT ON COLUMN plans.config_version IS 'The configuration that it was made of.';
COMMENT ON COLUMN plans.check_no IS 'What it was asked to run.';
COMMENT ON COLUMN plans.until_at IS 'When it said that it follows another plan; NULL = it still follows this one.';

COMMENT ON COLUMN probes.probe_id IS 'Given at enrolment, and in the probe''s certificate.';
COMMENT ON COLUMN probes.vantage_asn IS 'AS number that the operator declared with the token; NULL = none.';
COMMENT ON COLUMN probes.vantage_country IS 'Two letters that the operator declared; NULL = none.';
COMMENT ON COLUMN probes.provider IS 'Who runs the machine, as the operator declared it; NULL = nobody was.';
COMMENT ON COLUMN probes.recorded_at IS 'From when on it is so.';

COMMENT ON COLUMN rejects.received_at IS 'When it came.';
COMMENT ON COLUMN rejects.probe_id IS 'Who sent it.';
COMMENT ON COLUMN rejects.epoch IS 'The probe process that made it.';
COMMENT ON COLUMN rejects.seq IS 'Its number within the epoch.';
COMMENT ON COLUMN rejects.row_count IS 'Rows that its envelope announced.';
COMMENT ON COLUMN rejects.reason IS 'Why it was refused.';

COMMENT ON COLUMN restores.restored_at IS 'When.';
COMMENT ON COLUMN restores.manifest_sha256 IS 'Of the manifest of the backup, in hex.';

COMMENT ON COLUMN results.probe_id IS 'Who measured.';
COMMENT ON COLUMN results.check_no IS 'Number of the check; with probe_id and slot_at it names the slot.';
COMMENT ON COLUMN results.check_id IS 'What the check asks: service/component/kind/family, and the control.';
COMMENT ON COLUMN results.kind IS 'What was done.';
COMMENT ON COLUMN results.service IS 'What people name; once = measured on request.';
COMMENT ON COLUMN results.component IS 'A part of it.';
COMMENT ON COLUMN results.role IS 'What the component is for its service.';
COMMENT ON COLUMN results.vantage IS 'Name of the vantage point.';
COMMENT ON COLUMN results.vantage_country IS 'Two letters, as of this row.';
COMMENT ON COLUMN results.target_asn IS 'AS number of the endpoint as the operator declared it.';
COMMENT ON COLUMN results.target_prefix IS 'Announced prefix of the endpoint as the operator declared it.';
COMMENT ON COLUMN results.address IS 'The endpoint that was contacted; NULL = none was.';
COMMENT ON COLUMN results.port IS 'Of the endpoint; NULL where the kind has none.';
COMMENT ON COLUMN results.family IS 'Address family, 4 or 6.';
COMMENT ON COLUMN results.duplicates IS 'Echo replies that came more than once.';
COMMENT ON COLUMN results.rtt_ms_min IS 'Fastest echo of the slot.';
COMMENT ON COLUMN results.rtt_ms_max IS 'Slowest echo of the slot.';
COMMENT ON COLUMN results.connect_ms IS 'The kernel''s round trip of the handshake; with retransmits, from the first SYN to the answer.';
COMMENT ON COLUMN results.tls_ms IS 'Of the handshake.';
COMMENT ON COLUMN results.stamp_source IS 'Which clock made the times: the kernel at the packet, the kernel''s TCP state, or the program.';
COMMENT ON COLUMN results.http_status IS 'Of the last answer; NULL = none came.';
COMMENT ON COLUMN results.http_version IS '1.0, 1.1 or 2, as the server spoke.';
COMMENT ON COLUMN results.body_bytes IS 'Bytes of the body that were read.';
COMMENT ON COLUMN results.body_sha256 IS 'Of those bytes, in hex.';
COMMENT ON COLUMN results.location IS 'Where the answer redirects to, up to 512 printable characters.';
COMMENT ON COLUMN results.cert_sha256 IS 'Of the server''s certificate, in hex; the table certificates has it.';
COMMENT ON COLUMN results.tls_version IS 'What was agreed on, such as TLSv1.3.';
COMMENT ON COLUMN results.dns_rcode IS 'Response code of the answer; 0 = no error.';
COMMENT ON COLUMN results.dns_ttl_s IS 'Least time to live in the answer.';
COMMENT ON COLUMN results.answers IS 'Addresses or records of the answer, sorted, a space between.';
COMMENT ON COLUMN results.icmp_type IS 'Of the ICMP error that failed the slot.';
COMMENT ON COLUMN results.icmp_code IS 'Of the ICMP error that failed the slot.';

COMMENT ON COLUMN rollups.bin_at IS 'Start of the bin.';
COMMENT ON COLUMN rollups.bin_s IS 'Its width.';
COMMENT ON COLUMN rollups.rolled_at IS 'When it was last counted.';
COMMENT ON COLUMN rollups.result_rows IS 'How many results it had then.';

COMMENT ON COLUMN sessions.at_time IS 'When.';
COMMENT ON COLUMN sessions.probe_id IS 'Who came, went or was refused.';
COMMENT ON COLUMN sessions.boot_id IS 'The probe process; NULL = it was refused before it said so.';
COMMENT ON COLUMN sessions.version IS 'Of its program.';
COMMENT ON COLUMN sessions.detail IS 'Why it ended or was refused.';
COMMENT ON COLUMN sessions.backlog_rows IS 'Rows that waited in its spool at a connect.';
COMMENT ON COLUMN sessions.evicted_rows IS 'Rows that it had given up for want of room by then, over all its starts.';

COMMENT ON COLUMN verdicts.verdict_id IS 'The same over all revisions of one window and subject.';
COMMENT ON COLUMN verdicts.revision IS 'From 1; the highest holds.';
COMMENT ON COLUMN verdicts.scenario IS 'NULL for what this coordinator measured; the name of the replayed scenario else.';
COMMENT ON COLUMN verdicts.service IS 'What is judged.';
COMMENT ON COLUMN verdicts.window_from IS 'Start of the window.';
COMMENT ON COLUMN verdicts.window_to IS 'End of the window.';
COMMENT ON COLUMN verdicts.level IS 'Whose fault it is: healthy, local, upstream, target, application or unknown.';
COMMENT ON COLUMN verdicts.class IS 'The class of failure, from docs/ontology.md.';
COMMENT ON COLUMN verdicts.target_class IS 'The likeliest class on the target''s side.';
COMMENT ON COLUMN verdicts.source_class IS 'The likeliest class on the vantage points'' side.';
COMMENT ON COLUMN verdicts.probability IS 'Of the class; NULL = nothing could be weighed.';
COMMENT ON COLUMN verdicts.certified_f IS 'How many groups of vantage points may lie without turning the verdict over; NULL = not even none.';
COMMENT ON COLUMN verdicts.onset_from IS 'It began no earlier.';
COMMENT ON COLUMN verdicts.onset_to IS 'It began no later.';
COMMENT ON COLUMN verdicts.end_from IS 'It ended no earlier; NULL = it has not ended.';
COMMENT ON COLUMN verdicts.end_to IS 'It ended no later; NULL = it has not ended.';
COMMENT ON COLUMN verdicts.sentence IS 'What is said of it, fit for a post.';
COMMENT ON COLUMN verdicts.reasons IS 'Why no more can be said: codes, a space between; NULL = nothing stands in the way.';
COMMENT ON COLUMN verdicts.model_version IS 'Of the model that judged.';
