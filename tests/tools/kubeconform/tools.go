//go:build tools

// Package tools pins kubeconform, which the bench of validation runs beside this program. It holds no
// code: the import makes the module files list all that kubeconform is built from, with checksums.
package tools

import _ "github.com/yannh/kubeconform/cmd/kubeconform"
