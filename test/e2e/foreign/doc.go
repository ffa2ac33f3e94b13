// Package foreign tests the built program with the backends of other systems,
// whose tools are played by fakes: Tart's of macOS and vm-bhyve's of FreeBSD.
// The program itself, its plugin process, the runner's connector and SSH are
// real.
package foreign
