// Package wandb is a stand-in for both ends of Weights & Biases, for tests: a
// [Server] that real clients take for a self-hosted one, and a [Client] that
// speaks as the program inside the W&B SDK does, wandb-core, where no client
// that a test can install does.
//
// Neither keeps anything outside the process, and what one of them answers or
// sends is what the public source of the SDK says, not more: who reads a test
// that uses them can see in [Server.Requests] and [File] what arrived, how
// often and in which order.
package wandb
