package mariadb

import (
	"path/filepath"
	"time"

	"fallbackchain.io/fallback/shared/database/internal/selfsigned"
)

// Files of a directory that WriteCertificate filled.
const (
	CertificateFile = "server-cert.pem"
	KeyFile         = "server-key.pem"
)

// certificateLife is long: the server's volume may be restored any time.
const certificateLife = 10 * 365 * 24 * time.Hour

// WriteCertificate makes a certificate that nobody trusts. Servers from 11.4 on make one themselves, older ones do not
// (https://mariadb.com/docs/server/security/encryption/data-in-transit-encryption/secure-connections-overview).
func WriteCertificate(dir string, now time.Time) error {
	return selfsigned.Certificate{Name: "mariadb", From: now, Life: certificateLife}.
		Write(filepath.Join(dir, CertificateFile), filepath.Join(dir, KeyFile))
}
