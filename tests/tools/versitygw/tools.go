//go:build tools

// Package tools pins versitygw, an S3 service on a folder that the tests run. It holds no code: the
// import makes the module files list all that it is built from, with checksums.
package tools

import _ "github.com/versity/versitygw/cmd/versitygw"
