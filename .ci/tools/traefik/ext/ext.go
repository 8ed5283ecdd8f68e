// Package ext stands for what other editions of Traefik add to its settings. That module is
// only in Traefik's repository, and this edition adds nothing.
package ext

// HTTP is added to the settings of HTTP.
type HTTP struct{}

// Router is added to those of a router.
type Router struct{}
