-- Whether a file with this fingerprint was taken in before.
SELECT imported_at, path FROM imports WHERE sha256 = $sha256
