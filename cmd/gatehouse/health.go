package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const (
	// operationsName is where the environment says the operations listener's address.
	operationsName = "GATEHOUSE_OPERATIONS_ADDRESS"
	// operationsDefault is where it listens if nobody says otherwise.
	operationsDefault = "127.0.0.1:8081"
	// healthMaxSize is more than any report of /readyz.
	healthMaxSize = 64 << 10
)

func healthCommand(sh shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask the gateway on this machine whether it is alive, or ready",
		Long: `Asks the operations listener of a gateway that runs on this machine (or in this
container) for /livez, with --ready for /readyz, and prints what it says. For
places without curl: a container's health check.

It listens at operations.address, ` + operationsDefault + ` unless you say otherwise.
No settings file is read, so if a file has another address, say it here too: by
--address, or by ` + operationsName + ` for both programs.

Restart a gateway by its /livez alone: one that is not ready waits for something
that a restart does not mend.

Exit codes: 0 yes, 1 no, or nobody answers.`,
		Example: `  gatehouse health
  gatehouse health --ready --address 127.0.0.1:9081`,
		Args: noArgs,
	}
	address := cmd.Flags().String("address", "", "where the operations listener is, host:port or :port")
	ready := cmd.Flags().Bool("ready", false, "ask whether all is there that it needs, not only whether it runs")
	timeout := cmd.Flags().Duration("timeout", 5*time.Second, "how long the answer may take")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		at, err := operationsAddress(*address, sh.env)
		if err != nil {
			return err
		}
		path := "/livez"
		if *ready {
			path = "/readyz"
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), *timeout)
		defer cancel()
		return askHealth(ctx, "http://"+at+path, cmd.OutOrStdout())
	}
	return cmd
}

// operationsAddress is where to ask: as the flag says, the environment, or by default.
// A listener on all addresses is asked at loopback.
func operationsAddress(flag string, env []string) (string, error) {
	at := flag
	for _, e := range env {
		if value, ok := strings.CutPrefix(e, operationsName+"="); ok && at == "" {
			at = value
		}
	}
	if at == "" {
		at = operationsDefault
	}
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return "", usageError{fmt.Errorf("%q is no address of an operations listener: write host:port or :port", at)}
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port), nil
}

// askHealth prints what url answers; any status but 200 is an error.
func askHealth(ctx context.Context, url string, out io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	// No proxy of the environment's: the question is about this machine.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("the gateway does not answer: %w; does it run, and is this its operations.address?", err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(out, io.LimitReader(res.Body, healthMaxSize)); err != nil {
		return fmt.Errorf("the gateway's answer broke off: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return errors.New(url + " answers " + res.Status)
	}
	return nil
}
