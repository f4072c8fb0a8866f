//go:build tools

// Package tools pins rest-server, restic's REST server that the tests run. It holds no code: the
// import makes the module files list all that it is built from, with checksums.
package tools

import _ "github.com/restic/rest-server/cmd/rest-server"
