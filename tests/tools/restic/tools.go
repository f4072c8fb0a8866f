//go:build tools

// Package tools pins restic, the judge of every repository that the tests write. It holds no code:
// the import makes the module files list all that restic is built from, with checksums.
package tools

import _ "github.com/restic/restic/cmd/restic"
