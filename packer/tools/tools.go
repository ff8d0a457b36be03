// SPDX-License-Identifier: GPL-3.0-or-later

//go:build tools

// Package tools names the programs that bin/build-packer compiles, so that go.mod and go.sum pin them and all
// that they are made of.
package tools

import (
	_ "github.com/hashicorp/packer"
	_ "github.com/hashicorp/packer-plugin-amazon"
	_ "github.com/hashicorp/packer-plugin-ansible"
	_ "github.com/hashicorp/packer-plugin-googlecompute"
	_ "github.com/hashicorp/packer-plugin-qemu"
)
