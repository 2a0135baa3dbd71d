// A stage that shouts the lines that have a word in them.
package main

import (
	"bytes"
	"errors"

	pipehost "github.com/pipehost/pipehost/plugin-sdk/go"
)

// What a pipeline may configure. Its JSON Schema is made of this.
type config struct {
	Word string `json:"word" doc:"Lines with this word are changed."`
}

type stage struct {
	value pipehost.Field
	word  []byte
}

func open(config config, setup *pipehost.Setup) (*stage, error) {
	if config.Word == "" {
		return nil, errors.New("`word` is empty")
	}
	setup.KeepsNothing() // So it runs on all cores.
	return &stage{setup.Value(), []byte(config.Word)}, nil
}

func (s *stage) Process(record *pipehost.Record, out *pipehost.Out) error {
	line := record.Bytes(s.value)
	if line == nil {
		return errors.New("it has no value")
	}
	row := out.Keep()
	if bytes.Contains(line, s.word) {
		row.SetValue(bytes.ToUpper(line))
	}
	return nil
}

func init() {
	pipehost.Export(pipehost.About{
		Name:    "my-stage",
		Version: "0.1.0",
		Summary: "Shouts the lines that have a word in them",
	}, open)
}

func main() {}
