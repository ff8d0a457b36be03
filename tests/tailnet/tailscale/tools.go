// SPDX-License-Identifier: GPL-3.0-or-later

//go:build tools

// Package tools names what bin/build-tailnet compiles, so that go.mod and go.sum pin it and all that it is made of.
// It is for tests: hosts get Tailscale from its own repository or a given binary.
package tools

import (
	_ "tailscale.com/cmd/tailscale"
	_ "tailscale.com/cmd/tailscaled"
)
