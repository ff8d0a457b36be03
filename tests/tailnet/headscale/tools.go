// SPDX-License-Identifier: GPL-3.0-or-later

//go:build tools

// Package tools names what bin/build-tailnet compiles, so that go.mod and go.sum pin it and all that it is made of.
package tools

import _ "github.com/juanfont/headscale/cmd/headscale"
