//go:build tools

// Package tools pins fake-gcs-server, the emulator of Google Cloud Storage that the tests run. It
// holds no code: the import makes the module files list all that it is built from, with checksums.
package tools

import _ "github.com/fsouza/fake-gcs-server"
