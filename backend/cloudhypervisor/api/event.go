package api

import (
	"encoding/json"
	"fmt"
	"io"
)

// Event is something that happened to a machine.
type Event struct {
	Source     string          `json:"source"`
	Name       string          `json:"event"`
	Properties json.RawMessage `json:"properties"`
}

// Events that end a worker.
const (
	// Panicked needs the guest's pvpanic driver.
	Panicked  = "guest panic"
	Rebooting = "vm rebooting"
	Shutdown  = "vm shutdown"
)

func (e Event) String() string { return e.Source + " " + e.Name }

// maxEvents bounds what one machine may say, in bytes: its guest causes some of
// the events.
const maxEvents = 64 << 20

// ReadEvents hands on the events of a stream, which is JSON objects one after
// the other, until it ends. What is no event ends it with an error; what comes
// after that is drained, for nobody else reads it.
func ReadEvents(stream io.Reader, handle func(Event)) error {
	decoder := json.NewDecoder(io.LimitReader(stream, maxEvents))
	for {
		var event Event
		err := decoder.Decode(&event)
		if err == io.EOF {
			break
		}
		if err != nil {
			_, _ = io.Copy(io.Discard, stream) // the first error tells more
			return fmt.Errorf("reading events: %w", err)
		}
		handle(event)
	}
	_, err := io.Copy(io.Discard, stream) // beyond the bound
	return err
}
