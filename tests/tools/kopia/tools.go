//go:build tools

// Package tools pins kopia, which the bench runs beside this engine. It holds no code: the import
// makes the module files list all that kopia is built from, with checksums.
package tools

import _ "github.com/kopia/kopia"
