SELECT cert_sha256 FROM certificates
