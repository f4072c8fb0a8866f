//go:build tools

// Package tools pins minio, an S3 service with object lock that the tests run. It holds no code: the
// import makes the module files list all that it is built from, with checksums.
package tools

import _ "github.com/minio/minio"
